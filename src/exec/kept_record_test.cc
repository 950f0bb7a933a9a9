#include "exec/kept_record.h"

#include <gtest/gtest.h>

namespace sluice::exec {
namespace {

KeptRecord a_record() {
  return {.end = KeptEnd::completed,
          .started_at_us = 1'700'000'000'000'000,
          .ended_at_us = 1'700'000'001'000'000,
          .boot_id = "b7f9e0aa-0000-4000-8000-000000000000",
          .spawner_pid = 4711,
          .spawner_start_ticks = 99,
          .cgroup = "/sys/fs/cgroup/sluice-1/7-1",
          .programs = {{.pid = 4712,
                        .start_ticks = 100,
                        .exited = Exited{.program = 0,
                                         .wait_status = 768,
                                         .output_reader = Reader::gone,
                                         .user_us = 1,
                                         .system_us = 2,
                                         .peak_memory_bytes = 3,
                                         .io_known = true,
                                         .io_read_bytes = 4,
                                         .io_write_bytes = 5},
                        .exited_at_us = 1'700'000'000'500'000},
                       {.pid = 4713, .start_ticks = 101}},
          .outputs = {{.name = {0, OutputKind::error}, .total_bytes = 10, .dropped_bytes = 4, .error = 28}}};
}

TEST(KeptRecord, RoundTripsEveryField) {
  std::string bytes = encode(a_record());
  auto record = decode_kept_record(bytes);
  ASSERT_TRUE(record.has_value()) << record.error();
  EXPECT_EQ(record->end, KeptEnd::completed);
  EXPECT_EQ(record->boot_id, a_record().boot_id);
  EXPECT_EQ(record->cgroup, a_record().cgroup);
  ASSERT_EQ(record->programs.size(), 2u);
  EXPECT_EQ(record->programs[0].exited->wait_status, 768);
  EXPECT_EQ(record->programs[0].exited->output_reader, Reader::gone);
  EXPECT_FALSE(record->programs[1].exited.has_value());
  ASSERT_EQ(record->outputs.size(), 1u);
  EXPECT_EQ(record->outputs[0].name, (OutputName{0, OutputKind::error}));
  EXPECT_EQ(encode(*record), bytes) << "every field is there, or the bytes would differ";
}

TEST(KeptRecord, FitsIntoTheRoomThatIsReserved) {
  KeptRecord record = a_record();
  EXPECT_LE(encode(record).size(),
            record_size_max(record.programs.size(), record.outputs.size(), record.cgroup.size()));
  record.programs.assign(4096, record.programs[0]);
  record.outputs.assign(8192, record.outputs[0]);
  EXPECT_LE(encode(record).size(), record_size_max(4096, 8192, record.cgroup.size()));
}

TEST(KeptRecord, SaysWhatIsWrong) {
  std::string bytes = encode(a_record());
  EXPECT_FALSE(decode_kept_record("").has_value());
  EXPECT_EQ(decode_kept_record("something else altogether").error(), "it is no record of a launch");
  std::string later = bytes;
  later[5] = 9;
  EXPECT_EQ(decode_kept_record(later).error(), "its version is 9, and this sluice reads 1");
}

TEST(KeptRecord, RefusesEveryCutAndEveryDamage) {
  std::string bytes = encode(a_record());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_kept_record(std::string_view(bytes).substr(0, size)).has_value()) << size;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x40);
    EXPECT_FALSE(decode_kept_record(damaged).has_value()) << i;
  }
}

}  // namespace
}  // namespace sluice::exec
