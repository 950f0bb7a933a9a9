#include "jet_stream.h"

#include <fmt/format.h>

#include <charconv>
#include <deque>

#include "peer_connection.h"

namespace sluice::bench {
namespace {

constexpr std::uint64_t kUnconfirmed = 4096;  // publications
constexpr std::uint64_t kPull = 512;          // records that are asked for at once

struct Message {
  char kind = ' ';  // r: a record; c: a confirmation, or an answer of the API
  std::string_view reply, payload;
};

class Client final {
 public:
  explicit Client(int port) : nats_("nats-server", port) {
    nats_.line();  // INFO
    // Confirmations come as `c`, records as `r`.
    nats_.say("CONNECT {\"verbose\":false,\"headers\":true}\r\n");
    nats_.say(fmt::format("SUB {0}.c c\r\nSUB {0}.r r\r\nPING\r\n", inbox_));
    nats_.flush();
    while (nats_.line() != "PONG") {
    }
  }

  void publish(std::string_view subject, std::string_view payload) {
    nats_.say(fmt::format("PUB {} {}.c {}\r\n", subject, inbox_, payload.size()));
    nats_.say(payload);
    nats_.say("\r\n");
  }
  void pull(std::string_view stream) {
    std::string body = fmt::format("{{\"batch\":{}}}", kPull);
    nats_.say(
        fmt::format("PUB $JS.API.CONSUMER.MSG.NEXT.{0}.g {1}.r {2}\r\n{3}\r\n", stream, inbox_, body.size(), body));
  }
  void acknowledge(std::string_view reply) { nats_.say(fmt::format("PUB {} 4\r\n+ACK\r\n", reply)); }

  /// What is said goes out when there is nothing to read.
  Message next() {
    while (true) {
      if (nats_.would_wait()) nats_.flush();
      std::string_view line = nats_.line();
      if (line.starts_with("PING")) {
        nats_.say("PONG\r\n");
      } else if (line.starts_with("MSG ")) {
        return message(std::string(line));
      } else if (line.starts_with("HMSG ")) {  // a status: nobody asked that a pull should end
        nats_.die("a pull ended");
      } else if (line.starts_with("-ERR")) {
        nats_.die(line);
      }
    }
  }
  void ask(std::string_view subject, std::string_view body) {
    publish(subject, body);
    Message answer = next();
    if (answer.payload.find("\"error\"") != std::string_view::npos) nats_.die(answer.payload);
  }
  void flush() { nats_.flush(); }
  [[noreturn]] void die(std::string_view why) const { nats_.die(why); }

 private:
  // MSG subject sid [reply] size
  Message message(std::string line) {
    line_ = std::move(line);
    std::vector<std::string_view> words;
    std::string_view rest = line_;
    while (!rest.empty()) {
      std::size_t end = std::min(rest.find(' '), rest.size());
      words.push_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    std::size_t size = 0;
    std::from_chars(words.back().data(), words.back().data() + words.back().size(), size);
    return {.kind = words[2][0], .reply = words.size() == 5 ? words[3] : "", .payload = nats_.bytes(size)};
  }

  PeerConnection nats_;
  std::string inbox_ = fmt::format("_INBOX.{}", ::getpid());
  std::string line_;  // of the message that was read last
};

// Pulls again before all that was asked for has come.
class Pulling final {
 public:
  Pulling(Client& client, std::string_view stream) : client_(client), stream_(stream) { on_record(0); }
  void on_record(std::uint64_t count = 1) {
    owed_ -= count;
    for (; owed_ <= kPull; owed_ += kPull) client_.pull(stream_);
  }

 private:
  Client& client_;
  std::string stream_;
  std::uint64_t owed_ = 0;
};

}  // namespace

std::vector<std::string> jet_stream_command(int port, const std::string& folder) {
  return {"nats-server", "-a", "127.0.0.1", "-p", std::to_string(port), "-js", "-sd", folder, "-l", folder + "/log"};
}

void jet_stream_prepare(int port) {
  Client client(port);
  for (std::string_view stream : {"made", "passed_on"}) {
    client.ask(fmt::format("$JS.API.STREAM.CREATE.{}", stream),
               fmt::format(R"({{"name":"{0}","subjects":["{0}"],"storage":"memory"}})", stream));
    // The sink is alone: an acknowledgement of its is for all before, too.
    client.ask(fmt::format("$JS.API.CONSUMER.DURABLE.CREATE.{}.g", stream),
               fmt::format(R"({{"stream_name":"{}","config":{{"durable_name":"g","ack_policy":"{}",)"
                           R"("max_ack_pending":20000}}}})",
                           stream, stream == "made" ? "explicit" : "all"));
  }
}

void jet_stream_produce(int port, std::uint64_t count, const std::function<std::string_view(std::uint64_t)>& record) {
  Client client(port);
  std::uint64_t made = 0;
  for (std::uint64_t confirmed = 0; confirmed < count; ++confirmed) {
    while (made < count && made < confirmed + kUnconfirmed) client.publish("made", record(++made));
    client.next();
  }
}

void jet_stream_work(int port) {
  Client client(port);
  Pulling pulling(client, "made");
  std::deque<std::string> unconfirmed;  // how what was passed on is acknowledged, in its order
  while (true) {
    Message message = client.next();
    if (message.kind == 'r') {
      unconfirmed.emplace_back(message.reply);
      client.publish("passed_on", message.payload);
      pulling.on_record();
    } else {
      if (unconfirmed.empty()) client.die("it confirms what was not published");
      client.acknowledge(unconfirmed.front());
      unconfirmed.pop_front();
    }
  }
}

void jet_stream_consume(int port, std::uint64_t count, const std::function<void(std::string_view)>& take) {
  Client client(port);
  Pulling pulling(client, "passed_on");
  for (std::uint64_t got = 0; got < count; ++got) {
    Message message = client.next();
    take(message.payload);
    if (got % kPull == 0 || got + 1 == count) client.acknowledge(message.reply);
    pulling.on_record();
  }
  client.flush();
}

}  // namespace sluice::bench
