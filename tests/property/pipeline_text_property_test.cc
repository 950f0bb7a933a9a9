// The parser against texts whose stages are known, and against texts that were broken by chance.
#include <gtest/gtest.h>

#include <algorithm>

#include "flow/shell_text.h"
#include "property/pipeline_text_generator.h"

namespace sluice::flow {
namespace {

constexpr std::size_t kCases = 2000;

/// Calls `check` with a generator for every case, until one fails.
template <typename Check>
void for_all_cases(const Check& check) {
  const std::uint64_t seed = property_seed();
  const std::size_t cases = property_cases(kCases);
  for (std::size_t index = 0; index < cases && !testing::Test::HasFailure(); ++index) {
    SCOPED_TRACE(rerun_hint(seed + index));
    PipelineTextGenerator generator(seed + index);
    check(generator);
  }
}

std::vector<std::string> stages_of(const std::string& text) {
  auto parsed = parse_shell_text(text);
  if (!parsed) {
    ADD_FAILURE() << "refused at " << parsed.error().offset << ": " << parsed.error().message << "\n" << text;
    return {};
  }
  EXPECT_EQ(parsed->other, std::nullopt) << text;
  std::vector<std::string> stages;
  for (const ParsedCommand& command : parsed->commands) stages.push_back(stage_text(text, command));
  return stages;
}

TEST(PipelineTextProperty, FindsTheStagesThatWereWritten) {
  for_all_cases([](PipelineTextGenerator& generator) {
    const GeneratedPipeline pipeline = generator.pipeline();
    EXPECT_EQ(stages_of(pipeline.text), pipeline.stages) << pipeline.text;
  });
}

TEST(PipelineTextProperty, FindsAStageAloneUnchanged) {
  for_all_cases([](PipelineTextGenerator& generator) {
    for (const std::string& stage : generator.pipeline().stages) {
      EXPECT_EQ(stages_of(stage), std::vector<std::string>{stage}) << stage;
    }
  });
}

TEST(PipelineTextProperty, FindsStagesAgainThatWereJoined) {
  for_all_cases([](PipelineTextGenerator& generator) {
    // In a group of its own, a stage keeps its here-documents, whatever is joined to it.
    std::vector<std::string> groups;
    std::string joined;
    for (const std::string& stage : generator.pipeline().stages) {
      groups.push_back("{ " + stage + "\n}");
      joined += (joined.empty() ? "" : " | ") + groups.back();
    }
    EXPECT_EQ(stages_of(joined), groups) << joined;
  });
}

TEST(PipelineTextProperty, FindsTheSameStagesBehindAtWords) {
  for_all_cases([](PipelineTextGenerator& generator) {
    const GeneratedPipeline pipeline = generator.pipeline();
    if (pipeline.has_here_documents) return;
    std::string text;
    for (const std::string& stage : pipeline.stages) text += (text.empty() ? "@x1 @a=b " : " | @x2 ") + stage;
    EXPECT_EQ(stages_of(text), pipeline.stages) << text;
    EXPECT_TRUE(parse_shell_text(text)->stray_at_words.empty()) << text;
  });
}

/// The ranges of everything that lies in the text of the pipeline, in the order in which they must stand.
std::vector<TextRange> ranges_in_order(const ParsedText& parsed) {
  std::vector<TextRange> ranges;
  for (const ParsedCommand& command : parsed.commands) {
    for (const AtWord& word : command.at_words) ranges.push_back(word.range);
    ranges.push_back(command.range);
  }
  return ranges;
}

void expect_ranges_in_order(const std::vector<TextRange>& ranges, const std::string& text) {
  std::size_t end = 0;
  for (const TextRange& range : ranges) {
    EXPECT_LE(end, range.begin) << text;
    EXPECT_LE(range.begin, range.end) << text;
    end = range.end;
  }
  EXPECT_LE(end, text.size()) << text;
}

TEST(PipelineTextProperty, GivesARefusalOrOrderlyRangesForBrokenTexts) {
  for_all_cases([](PipelineTextGenerator& generator) {
    const std::string text = generator.mutated(generator.pipeline().text);
    auto parsed = parse_shell_text(text);
    if (!parsed) {
      EXPECT_LE(parsed.error().offset, text.size()) << text;
      EXPECT_FALSE(parsed.error().message.empty()) << text;
      return;
    }
    expect_ranges_in_order(ranges_in_order(*parsed), text);
    std::vector<TextRange> stray;
    for (const AtWord& word : parsed->stray_at_words) stray.push_back(word.range);
    expect_ranges_in_order(stray, text);
    for (const ParsedCommand& command : parsed->commands) {
      EXPECT_LT(command.range.begin, command.range.end) << text;
      expect_ranges_in_order(command.here_documents, text);
      const std::string stage = stage_text(text, command);
      auto again = parse_shell_text(stage);
      ASSERT_TRUE(again.has_value()) << again.error().message << "\nstage: " << stage << "\nof: " << text;
      EXPECT_EQ(again->commands.size(), 1u) << stage;
    }
  });
}

}  // namespace
}  // namespace sluice::flow
