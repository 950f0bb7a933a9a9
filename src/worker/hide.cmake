# Leaves nothing of OBJECT to be seen but the library's API. NM and OBJCOPY are those of the toolchain.
execute_process(COMMAND ${NM} --defined-only ${OBJECT} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
# Symbols that are to be one in a process (STB_GNU_UNIQUE, "u") can't be hidden before they are ordinary weak ones.
string(REGEX MATCHALL "[^\n]* u [^\n]*" unique "${symbols}")
list(TRANSFORM unique REPLACE ".* u " "")
list(JOIN unique "\n" unique)
file(WRITE ${OBJECT}.unique "${unique}\n")
execute_process(COMMAND ${OBJCOPY} --weaken-symbols=${OBJECT}.unique ${OBJECT} COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${OBJCOPY} --wildcard --keep-global-symbol=!_ZN6sluice6Worker4Impl* --keep-global-symbol=_ZN6sluice6Worker*
          --keep-global-symbol=_ZNK6sluice6Worker* --keep-global-symbol=_ZNK6sluice5Input* ${OBJECT}
  COMMAND_ERROR_IS_FATAL ANY)
