#include "exec/kept_record.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "base/wire.h"

namespace sluice::exec {
namespace {

constexpr std::uint32_t kMagic = 0x534c4b46;  // "SLKF"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kChecksumSize = sizeof(std::uint64_t);
// Far above what a launch of 4,096 programs needs.
constexpr std::uint32_t kItemsMax = 65536;

// FNV-1a (Fowler, Noll, Vo): it is to find a damaged file, not a forged one.
std::uint64_t checksum(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char byte : bytes) hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3;
  return hash;
}

void put_signed(WireWriter& writer, std::int32_t value) { writer.put(static_cast<std::uint32_t>(value)); }
std::int32_t get_signed(WireReader& reader) { return static_cast<std::int32_t>(reader.get<std::uint32_t>()); }

void put(WireWriter& writer, const KeptProgram& program) {
  put_signed(writer, program.pid);
  writer.put(program.start_ticks);
  writer.put(static_cast<std::uint8_t>(program.exited.has_value()));
  if (!program.exited) return;
  const Exited& exited = *program.exited;
  writer.put(program.exited_at_us);
  writer.put(exited.program);
  put_signed(writer, exited.wait_status);
  writer.put(static_cast<std::uint8_t>(exited.output_reader));
  writer.put(exited.user_us);
  writer.put(exited.system_us);
  writer.put(exited.peak_memory_bytes);
  writer.put(static_cast<std::uint8_t>(exited.io_known));
  writer.put(exited.io_read_bytes);
  writer.put(exited.io_write_bytes);
}

KeptProgram get_program(WireReader& reader) {
  KeptProgram program;
  program.pid = get_signed(reader);
  program.start_ticks = reader.get<std::uint64_t>();
  if (reader.get<std::uint8_t>() == 0) return program;
  program.exited_at_us = reader.get<std::uint64_t>();
  Exited& exited = program.exited.emplace();
  exited.program = reader.get<std::uint32_t>();
  exited.wait_status = get_signed(reader);
  exited.output_reader = static_cast<Reader>(reader.get<std::uint8_t>());
  exited.user_us = reader.get<std::uint64_t>();
  exited.system_us = reader.get<std::uint64_t>();
  exited.peak_memory_bytes = reader.get<std::uint64_t>();
  exited.io_known = reader.get<std::uint8_t>() != 0;
  exited.io_read_bytes = reader.get<std::uint64_t>();
  exited.io_write_bytes = reader.get<std::uint64_t>();
  return program;
}

void put(WireWriter& writer, const KeptOutput& output) {
  writer.put(output.name.program);
  writer.put(static_cast<std::uint8_t>(output.name.kind));
  writer.put(output.total_bytes);
  writer.put(output.dropped_bytes);
  put_signed(writer, output.error);
}

KeptOutput get_output(WireReader& reader) {
  KeptOutput output;
  output.name.program = reader.get<std::uint32_t>();
  output.name.kind = static_cast<OutputKind>(reader.get<std::uint8_t>());
  output.total_bytes = reader.get<std::uint64_t>();
  output.dropped_bytes = reader.get<std::uint64_t>();
  output.error = get_signed(reader);
  return output;
}

bool enumerators_are_known(const KeptRecord& record) {
  if (record.end > KeptEnd::owner_lost) return false;
  for (const KeptProgram& program : record.programs)
    if (program.exited && program.exited->output_reader > Reader::unknown) return false;
  for (const KeptOutput& output : record.outputs)
    if (output.name.kind > OutputKind::error) return false;
  return true;
}

template <class Item, class Get>
void get_list(WireReader& reader, std::vector<Item>& items, Get get) {
  auto count = reader.get<std::uint32_t>();
  if (count > kItemsMax) count = kItemsMax;  // the bytes will not be complete then
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i) items.push_back(get(reader));
}

}  // namespace

std::string encode(const KeptRecord& record) {
  WireWriter writer;
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put(static_cast<std::uint8_t>(record.end));
  writer.put(record.started_at_us);
  writer.put(record.ended_at_us);
  writer.put_text<std::uint16_t>(record.boot_id);
  put_signed(writer, record.spawner_pid);
  writer.put(record.spawner_start_ticks);
  writer.put_text<std::uint16_t>(record.cgroup);
  writer.put(static_cast<std::uint32_t>(record.programs.size()));
  for (const KeptProgram& program : record.programs) put(writer, program);
  writer.put(static_cast<std::uint32_t>(record.outputs.size()));
  for (const KeptOutput& output : record.outputs) put(writer, output);
  writer.put(checksum(writer.bytes()));
  return writer.take();
}

std::expected<KeptRecord, std::string> decode_kept_record(std::string_view bytes) {
  WireReader head(bytes);
  if (head.get<std::uint32_t>() != kMagic || head.failed()) return std::unexpected("it is no record of a launch");
  auto version = head.get<std::uint16_t>();
  if (!head.failed() && version != kVersion)
    return std::unexpected("its version is " + std::to_string(version) + ", and this sluice reads " +
                           std::to_string(kVersion));
  if (head.left() < kChecksumSize) return std::unexpected("it is cut short");
  std::string_view checked = bytes.substr(0, bytes.size() - kChecksumSize);
  if (WireReader(bytes.substr(checked.size())).get<std::uint64_t>() != checksum(checked))
    return std::unexpected("its checksum is wrong: it is cut short or damaged");

  WireReader reader(checked);
  reader.get_raw(sizeof kMagic + sizeof kVersion);
  KeptRecord record;
  record.end = static_cast<KeptEnd>(reader.get<std::uint8_t>());
  record.started_at_us = reader.get<std::uint64_t>();
  record.ended_at_us = reader.get<std::uint64_t>();
  record.boot_id = reader.get_text<std::uint16_t>();
  record.spawner_pid = get_signed(reader);
  record.spawner_start_ticks = reader.get<std::uint64_t>();
  record.cgroup = reader.get_text<std::uint16_t>();
  get_list(reader, record.programs, get_program);
  get_list(reader, record.outputs, get_output);
  if (!reader.complete() || !enumerators_are_known(record)) return std::unexpected("its fields are damaged");
  return record;
}

std::size_t record_size_max(std::size_t programs, std::size_t outputs, std::size_t cgroup_size) {
  constexpr std::size_t kFixed = 256, kProgram = 96, kOutput = 32;
  return kFixed + cgroup_size + programs * kProgram + outputs * kOutput;
}

std::string read_boot_id() {
  UniqueFd file(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  char text[64];
  ssize_t got = file ? ::read(file.get(), text, sizeof text) : -1;
  std::string id(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace sluice::exec
