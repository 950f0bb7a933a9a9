// Reads a user file, and writes a record for each of its lines: parser FILE
#include <sluice/worker.h>

#include <fstream>
#include <iostream>
#include <string>

#include "record.h"

int main(int count, char** arguments) {
  std::ifstream file(count > 1 ? arguments[1] : "");
  std::string line;
  if (!std::getline(file, line)) {  // the names of the columns
    std::cerr << "parser: no users in the file that it is given\n";
    return 1;
  }
  sluice::Worker worker;
  return worker.source([&](sluice::Worker& out) {
    if (!std::getline(file, line)) return false;
    std::size_t comma = line.find(',');
    std::string record;
    append_field(record, "id", std::string_view(line).substr(0, comma));
    append_field(record, "name", std::string_view(line).substr(comma + 1));
    out.write(record);
    return true;
  });
}
