#pragma once
// Random pipeline texts whose stages are known because they were put together from them.
//
// The texts can be run: every command is safe and quick, reads all of its input, and writes the same whatever the
// timing. So nothing is ended by SIGPIPE by chance, and two ways of running a text can be compared byte by byte.
// Invariant: the same random numbers give the same text on every machine.
// Threading: none of its own.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::flow {

struct GeneratedPipeline {
  std::string text;
  std::vector<std::string> stages;  // what a shell must be given for each stage alone
  bool has_here_documents = false;
};

class PipelineTextGenerator {
 public:
  explicit PipelineTextGenerator(std::uint64_t seed) : random_(seed) {}

  GeneratedPipeline pipeline();
  /// A pipeline of nested groups that end in every way a process can: with a status, by a signal, by a reader that has
  /// gone. Writers are endless or silent, so that whether SIGPIPE strikes does not depend on timing.
  std::string status_pipeline();
  /// `text` with a few bytes added, removed, doubled or moved.
  std::string mutated(std::string text);

 private:
  class Writer;

  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }
  bool chance(std::size_t percent) { return below(100) < percent; }
  std::string pick(const std::vector<std::string>& choices) { return choices[below(choices.size())]; }

  void source(Writer& writer);
  void filter(Writer& writer, std::size_t depth);
  void compound_filter(Writer& writer, std::size_t depth);
  void here_document(Writer& writer);
  void separator(Writer& writer);
  std::string word(std::size_t depth);
  std::string simple_filter();
  std::string condition();
  std::string status_stage(std::size_t depth, bool reads_endless);
  std::string status_list(std::size_t depth, bool reads_endless);
  std::string status_chain(std::size_t depth, bool reads_endless);
  std::string endless_chain(std::size_t depth);

  std::mt19937_64 random_;
};

/// From SLUICE_SEED, or random. Case `n` of a property uses the seed plus n, so that a single case can be run again.
std::uint64_t property_seed();
/// From SLUICE_PROPERTY_CASES, or `otherwise`.
std::size_t property_cases(std::size_t otherwise);
std::string rerun_hint(std::uint64_t case_seed);

}  // namespace sluice::flow
