# The commands of a working day; docs/HACKING.md explains them. Everything is built under build/.
#
#   make run       install what is missing, build sluice, run the word-frequency pipeline on a real text
#   make test      install, build and run every test: release and asan trees, and tsan where there are threads
#   make soak      the same tests with ten times as many random cases and kills
#   make fuzz      fuzz with libFuzzer (clang-19); FUZZ_SECONDS=60 for each target
#   make bench     print the speed table beside the peers; `make bench-deps` installs what it needs
#   make lint      clang-format and clang-tidy; `make lint-deps` installs them
#   make install   PREFIX=/usr/local

PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
JOBS ?= $(shell nproc)

.PHONY: all deps build run test soak fuzz fuzz-deps bench bench-deps lint lint-deps install clean

all: build

deps:
	scripts/deps.sh build test

build:
	scripts/deps.sh build
	scripts/build.sh release sluice

run: build
	scripts/demo.sh build/release/sluice

test:
	scripts/deps.sh build test
	scripts/test.sh

soak:
	scripts/deps.sh build test
	SLUICE_SOAK=1 scripts/test.sh

fuzz-deps:
	scripts/deps.sh build fuzz

fuzz: fuzz-deps
	scripts/fuzz.sh $(FUZZ_SECONDS)

bench-deps:
	scripts/deps.sh build bench

bench: bench-deps
	scripts/bench.sh

lint-deps:
	scripts/deps.sh build test lint

lint: lint-deps
	scripts/lint.sh

install: build
	scripts/build.sh release worker_archive
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build
