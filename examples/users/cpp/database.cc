// Writes the users into an SQLite database: database FILE. What came together is committed together.
#include <sluice/worker.h>
#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "record.h"

namespace {

class Users {
 public:
  explicit Users(const char* file) {
    check(sqlite3_open(file, &database_));
    run("create table if not exists users (id integer primary key, name, facebook, twitter)");
    check(sqlite3_prepare_v2(database_, "insert or replace into users values (?, ?, ?, ?)", -1, &insert_, nullptr));
    run("begin");
  }
  ~Users() {
    sqlite3_finalize(insert_);
    sqlite3_close(database_);
  }
  Users(const Users&) = delete;
  Users& operator=(const Users&) = delete;

  // One that runs again replaces itself.
  void insert(std::string_view record) {
    int column = 0;
    for (const char* name : {"id", "name", "facebook", "twitter"}) {
      std::string_view value = field(record, name);
      check(sqlite3_bind_text(insert_, ++column, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT));
    }
    if (sqlite3_step(insert_) != SQLITE_DONE) fail();
    check(sqlite3_reset(insert_));
  }
  void commit() {
    run("commit");
    run("begin");
  }

 private:
  void run(const char* statement) { check(sqlite3_exec(database_, statement, nullptr, nullptr, nullptr)); }
  void check(int result) {
    if (result != SQLITE_OK) fail();
  }
  [[noreturn]] void fail() {
    std::fprintf(stderr, "database: %s\n", sqlite3_errmsg(database_));
    std::exit(1);
  }

  sqlite3* database_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

}  // namespace

int main(int count, char** arguments) {
  Users users(count > 1 ? arguments[1] : "users.db");
  std::vector<sluice::Input> inserted;
  sluice::Worker worker;
  worker.concurrency(500);
  worker.on_data([&](std::string_view record, sluice::Input input) {
    users.insert(record);
    inserted.push_back(input);
  });
  worker.on_idle([&] {
    users.commit();
    for (const sluice::Input& input : inserted) input.done();
    inserted.clear();
  });
  return worker.run();
}
