#include "redis_streams.h"

#include <fmt/format.h>

#include <charconv>
#include <initializer_list>
#include <string>

#include "peer_connection.h"

namespace sluice::bench {
namespace {

constexpr int kBatch = 512;  // records that are read at once; more made it no faster

// A command as RESP has it: an array of bulk strings.
void say(PeerConnection& redis, std::initializer_list<std::string_view> words) {
  redis.say(fmt::format("*{}\r\n", words.size()));
  for (std::string_view word : words) {
    redis.say(fmt::format("${}\r\n", word.size()));
    redis.say(word);
    redis.say("\r\n");
  }
}

long number_of(const PeerConnection& redis, std::string_view line, char kind) {
  if (line.empty() || line[0] != kind) redis.die(line);
  long number = 0;
  std::from_chars(line.data() + 1, line.data() + line.size(), number);
  return number;
}

std::string_view bulk(PeerConnection& redis) {
  return redis.bytes(static_cast<std::size_t>(number_of(redis, redis.line(), '$')));
}

void add(PeerConnection& redis, std::string_view stream, std::string_view record) {
  say(redis, {"XADD", stream, "*", "r", record});
}

void read_some(PeerConnection& redis, std::string_view stream, std::string_view consumer) {
  say(redis,
      {"XREADGROUP", "GROUP", "g", consumer, "COUNT", std::to_string(kBatch), "BLOCK", "1000", "STREAMS", stream, ">"});
}

// The answer to read_some: visits each record, and gathers their ids.
void take_some(PeerConnection& redis, std::vector<std::string>& ids,
               const std::function<void(std::string_view)>& visit) {
  ids.clear();
  if (number_of(redis, redis.line(), '*') < 1) return;  // nothing came in time
  redis.line();                                         // the stream, as an array of its name and its entries
  bulk(redis);
  long entries = number_of(redis, redis.line(), '*');
  for (long i = 0; i < entries; ++i) {
    redis.line();
    ids.emplace_back(bulk(redis));
    redis.line();
    bulk(redis);
    visit(bulk(redis));
  }
}

void acknowledge(PeerConnection& redis, std::string_view stream, const std::vector<std::string>& ids) {
  redis.say(fmt::format("*{}\r\n$4\r\nXACK\r\n${}\r\n{}\r\n$1\r\ng\r\n", ids.size() + 3, stream.size(), stream));
  for (const std::string& id : ids) redis.say(fmt::format("${}\r\n{}\r\n", id.size(), id));
}

}  // namespace

std::vector<std::string> redis_command(int port) {
  return {"redis-server", "--bind", "127.0.0.1", "--port",   std::to_string(port), "--save", "",
          "--appendonly", "no",     "--logfile", "/dev/null"};
}

void redis_prepare(int port) {
  PeerConnection redis("redis-server", port);
  for (std::string_view stream : {"made", "passed_on"}) {
    say(redis, {"XGROUP", "CREATE", stream, "g", "0", "MKSTREAM"});
    redis.flush();
    if (redis.line() != "+OK") redis.die("it makes no stream");
  }
}

void redis_produce(int port, std::uint64_t count, const std::function<std::string_view(std::uint64_t)>& record) {
  PeerConnection redis("redis-server", port);
  for (std::uint64_t made = 0; made < count;) {
    std::uint64_t until = std::min(count, made + kBatch), first = made;
    while (made < until) add(redis, "made", record(++made));
    redis.flush();
    for (; first < until; ++first) bulk(redis);
  }
}

void redis_work(int port, int worker) {
  PeerConnection redis("redis-server", port);
  std::string consumer = std::to_string(worker);
  std::vector<std::string> ids;
  read_some(redis, "made", consumer);
  while (true) {
    redis.flush();
    take_some(redis, ids, [&](std::string_view record) { add(redis, "passed_on", record); });
    if (!ids.empty()) acknowledge(redis, "made", ids);
    read_some(redis, "made", consumer);
    redis.flush();
    for (std::size_t i = 0; i < ids.size(); ++i) bulk(redis);
    if (!ids.empty()) number_of(redis, redis.line(), ':');
  }
}

void redis_consume(int port, std::uint64_t count, const std::function<void(std::string_view)>& take) {
  PeerConnection redis("redis-server", port);
  std::vector<std::string> ids;
  for (std::uint64_t got = 0; got < count; got += ids.size()) {
    read_some(redis, "passed_on", "sink");
    redis.flush();
    take_some(redis, ids, take);
    if (ids.empty()) continue;
    acknowledge(redis, "passed_on", ids);
    redis.flush();
    number_of(redis, redis.line(), ':');
  }
}

}  // namespace sluice::bench
