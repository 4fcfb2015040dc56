# The front door: every target installs what it needs (Debian's packages), configures, builds, and runs.

JOBS ?= $(shell nproc)
CTEST := ctest --output-on-failure --no-tests=error -j$(JOBS)
BUILD := tools/build.sh

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-all demo build test test-all test-slow test-fuzz test-planted fuzz test-dev test-tsan test-portable test-race build-cuda test-headers bench bundle gpu-kit format check-format tidy clean

help:
	@echo "make demo       train a GPT and a ResNet, with and without segments, and compare their memory; DATA=FILE names a text"
	@echo "make test       unit tests, gradient checks, the CUDA backend on an emulator, the installed package, 20 s of random programs"
	@echo "make test-all   all that, the slow tests, the sanitizer and race builds, the build for GPUs, and the checks of form"
	@echo "make build      the release build, in build/release"
	@echo "make test-fuzz  random programs with and without checkpoint segments, for FUZZ_SECONDS (600)"
	@echo "make bench      the micro-benchmarks"
	@echo "make gpu-kit    the programs that bench/gpu_check.sh runs on a machine with a GPU, in build/gpu-kit/kit"
	@echo "make bundle     headers for a build on a machine without packages, in third_party/bundle"
	@echo "make format     format all sources        make tidy    clang-tidy on all sources"
	@echo "make setup      install missing packages  make clean   remove all builds"

setup:
	@tools/setup.sh

setup-all:
	@tools/setup.sh clang-format clang-tidy

demo: setup
	@echo "The demo takes 3 to 4 minutes on two free cores, the build of the program among them"
	@$(BUILD) release reprise_cli
	@tools/demo.sh build/release/bin/reprise $(if $(DATA),--data "$(DATA)")

build: setup
	@$(BUILD) release

test: build
	@$(CTEST) --test-dir build/release -L 'unit|gradcheck|simt|install|fuzz' --output-junit $(CURDIR)/build/results/release.xml

test-slow: build
	@$(CTEST) --test-dir build/release -L slow --output-junit $(CURDIR)/build/results/slow.xml

test-dev test-tsan: test-%: setup
	@$(BUILD) $*
	@$(CTEST) --test-dir build/$* -L 'unit|gradcheck|simt|fuzz' --output-junit $(CURDIR)/build/results/$*.xml

# Random programs with and without segments: other ones each time, unless FUZZ_SEED says which.
FUZZ_SECONDS ?= 600
FUZZ_SEED ?= $(shell date +%s)000
test-fuzz: setup
	@$(BUILD) release reprise_fuzz
	@build/release/bin/reprise_fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --save build/results/fuzz

# Faults planted in a copy of the library must be found.
test-planted: setup
	@tests/fuzz/plant.sh

# The same programs under libFuzzer, whose inputs are kept in build/fuzz/corpus; needs clang.
fuzz: setup
	@$(BUILD) fuzz reprise_libfuzzer
	@mkdir -p build/fuzz/corpus && cd build/fuzz && bin/reprise_libfuzzer -max_total_time=$(FUZZ_SECONDS) -max_len=1024 corpus

# A build for other processors than this one: kernels without AVX.
test-portable: setup
	@$(BUILD) portable
	@$(CTEST) --test-dir build/portable -L unit --output-junit $(CURDIR)/build/results/portable.xml

# The CUDA kernels on the CPU, checked for races; needs CUDA's headers.
test-race: setup
	@if tools/has_cuda.sh headers; then $(BUILD) race reprise_simt_tests reprise_simt_layer_tests && \
	  $(CTEST) --test-dir build/race -L simt -E program --output-junit $(CURDIR)/build/results/race.xml; fi

# Compiles and links the CUDA backend for real devices, and checks what compilers made of the kernels; needs CUDA.
build-cuda: setup
	@if tools/has_cuda.sh compiler; then $(BUILD) cuda reprise_cli && build/cuda/bin/reprise info && \
	  tools/check_machine_code.py build/cuda/bin/reprise; fi

test-headers: build
	@$(BUILD) release all_verify_interface_header_sets

test-all: test test-slow test-fuzz test-planted test-dev test-tsan test-portable test-race build-cuda test-headers check-format tidy

bench: build
	@tools/bench.sh build/release/bin

# All that bench/gpu_check.sh runs on a machine with a GPU, built on one without.
gpu-kit: setup
	@tools/gpu_kit.sh

bundle: setup
	@tools/bundle_headers.sh

format: setup-all
	@tools/format.sh

check-format: setup-all
	@tools/format.sh --check

tidy: setup-all build
	@tools/tidy.sh build/release

clean:
	@rm -rf build
