# sluice_folder(NAME USES folder...): the CMake target of one folder under src/.
#
# Sources are the folder's *.cc, unit tests its *_test.cc. A folder is linked only to the folders that it names, so that
# a wrong dependency does not link; tests/includes_test.py holds the same table against the #include lines.
function(sluice_folder name)
  cmake_parse_arguments(FOLDER "" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")

  add_library(sluice_${name} STATIC ${sources})
  target_include_directories(sluice_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/src)
  list(TRANSFORM FOLDER_USES PREPEND sluice_)
  target_link_libraries(sluice_${name} PUBLIC ${FOLDER_USES} PRIVATE ${FOLDER_LIBRARIES})

  if(SLUICE_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE sluice_${name} GTest::gmock GTest::gtest_main)
    include(GoogleTest)
    gtest_discover_tests(${name}_test PROPERTIES LABELS unit TIMEOUT 120 DISCOVERY_TIMEOUT 60)
  endif()
endfunction()
