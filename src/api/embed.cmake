# cmake -D INPUT=FILE -D OUTPUT=FILE.cc -P embed.cmake: the bytes of a file as the array that api/schema.cc declares.
file(READ ${INPUT} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "// Generated from ${INPUT}.
#include <cstddef>

namespace sluice::api {

extern const unsigned char kDescriptorSet[];
extern const std::size_t kDescriptorSetSize;

const unsigned char kDescriptorSet[] = {
${bytes}
};
const std::size_t kDescriptorSetSize = ${size};

}  // namespace sluice::api
")
