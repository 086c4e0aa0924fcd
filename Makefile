# Everything a contributor runs. `make test` is what the continuous check runs.
GO ?= go
ATTNSCOPE = $(GO) run ./cmd/attnscope

.PHONY: demo test test-long fuzz build lint bench bench-go reproduce clean

demo: ## run the main job on the default model and the shipped prompts
	$(ATTNSCOPE) demo -o demo

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o attnscope ./cmd/attnscope

test: lint
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) test -count=1 ./...
	ATTNSCOPE_CPU=avx2 $(GO) test -count=1 ./internal/simd ./capture/model
	ATTNSCOPE_CPU=portable $(GO) test -count=1 ./internal/simd ./capture/model

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt'; exit 1; }
	$(GO) vet ./...

test-long: ## what needs the default model, PyTorch or an hour
	ATTNSCOPE_LONG=1 $(GO) test -timeout 3h ./...
	./fuzz.sh 10m
	$(ATTNSCOPE) reproduce all --quick -o build/reproduce-quick

fuzz: ## every fuzz target for a while
	./fuzz.sh 10s

reproduce: ## the paper's experiments on the default model, hours on two cores
	$(ATTNSCOPE) reproduce all -o results/smollm2-135m

bench: ## against PyTorch and llama.cpp, about an hour; QUICK=1: a quarter of it. BENCH_PYTHON, BENCH_LLAMA_PYTHON: interpreters that have them
	$(GO) run ./bench -o results/bench $(if $(QUICK),-quick)

bench-go: ## the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

clean:
	rm -rf attnscope demo build
