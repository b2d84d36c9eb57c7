# Everything that one does with the workbook. "make help" says what.

STAGES  := $(patsubst %/,%,$(sort $(wildcard stage[0-7]-*/)))
NUMBERS := $(foreach s,$(STAGES),$(patsubst stage%,%,$(firstword $(subst -, ,$(s)))))

ifneq ($(strip $(STAGE)),)
ifeq ($(filter $(NUMBERS),$(STAGE)),)
$(error there is no stage "$(STAGE)"; STAGE is one of: $(NUMBERS))
endif
ONE := $(filter stage$(STAGE)-%,$(STAGES))
endif

# What RUN starts is the stage asked for, or the last. What PACKAGES names are the
# stage's packages, or all.
RUN      := $(or $(ONE),$(lastword $(STAGES)))
PACKAGES := $(if $(ONE),./$(ONE)/...,./...)
ONLY     := $(if $(ONE),-stage $(STAGE))

# Tests make much that is soon forgotten: to collect it more seldom saves a third of their time.
TEST := GOGC=400 go test

FUZZTIME ?= 30s

.PHONY: help run test race soak matrix bugs lint book fuzz bench diff carry

help: ## say what there is (this)
	@awk -F ' ## ' '/^[a-z]+:.* ## /{split($$1, t, ":"); printf "  make %-6s %s\n", t[1], $$2}' Makefile
	@echo
	@echo "  STAGE is a number ($(NUMBERS)); where it may be left out, it stands in brackets."

run: ## [STAGE=n] start the lab of a stage: its cluster and a prompt; the last stage unless told
	@trap 'exit 0' INT; go run ./$(RUN) # Ctrl-C is a way to leave, no error

test: ## [STAGE=n] run the tests, of one stage or of everything
	@$(TEST) -cpu 1 $(PACKAGES) # one processor for each: other packages are tested beside it

race: ## [STAGE=n] run them with the race detector
	@$(TEST) -race $(PACKAGES)

soak: ## STAGE=n run the tests of a stage again and again: takes long
	$(call need,STAGE)
	$(TEST) -count=30 -timeout=60m $(PACKAGES)
	$(TEST) -count=10 -timeout=60m -race $(PACKAGES)
	@echo "$(TEST) -count=10 -timeout=60m $(PACKAGES), beside a busy loop on every processor"
	@busy=; trap 'kill $$busy' EXIT; trap 'exit 130' INT TERM; \
	for i in $$(seq $$(getconf _NPROCESSORS_ONLN)); do sh -c 'while :; do :; done' & busy="$$busy $$!"; done; \
	$(TEST) -count=10 -timeout=60m $(PACKAGES)
	@echo "make matrix STAGE=$(STAGE), 10 times"
	@for i in 1 2 3 4 5 6 7 8 9 10; do go run ./common/matrix $(ONLY) || exit 1; done
	SOAK=1 $(TEST) -count=1 -timeout=60m -v -run '^TestSoak_' $(PACKAGES)

matrix: ## [STAGE=n] play each scene in each stage, or in one, and print how it ends
	@go run ./common/matrix $(ONLY)

bugs: ## [STAGE=n] [NEW=1] [ONEIN=1] put each known bug in, and see the tests catch it; NEW: only what a stage does not share with the one before; ONEIN: a sample
	@go run ./common/bugs $(ONLY) $(if $(NEW),-new) $(if $(ONEIN),-one-in $(ONEIN))

lint: ## check formatting, vet, staticcheck, the steps and borders of the stages, and the build for macOS
	@files=$$("$$(go env GOROOT)/bin/gofmt" -l .) && { test -z "$$files" || { echo "not formatted (gofmt -w):"; echo "$$files"; exit 1; }; }
	@go vet ./...
	@go tool -modfile=.tools/go.mod staticcheck ./...
	@go run ./common/stages check
	@GOOS=darwin go vet ./...
	@GOOS=darwin go build ./...

book: ## [STAGE=n] run the commands that the chapters show, and compare what comes with what they say
	@go run ./common/book $(ONLY)

fuzz: ## [STAGE=n] [FUZZTIME=30s] run each fuzz test for a while
	@set -e; for package in $$(go list $(PACKAGES)); do \
		for test in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$test"; \
			go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$package; \
		done; \
	done

bench: ## [STAGE=n] measure all stages side by side; or one under load, beside the least that a server could do
	@go run ./common/load $(or $(ONLY),all)

diff: ## [FROM=n TO=m] show the step from one stage to another in reading order, or a table of all steps
	@go run ./common/stages diff $(if $(FROM),-from '$(FROM)') $(if $(TO),-to '$(TO)')

carry: ## FILE=path FROM=n [BASE=revision] merge a change made to a file of a stage into the stages that follow
	$(call need,FILE)
	$(call need,FROM)
	@go run ./common/stages carry -file '$(FILE)' -from '$(FROM)' $(if $(BASE),-base '$(BASE)')

# need stops, unless the variable is set.
need = $(if $($(1)),,$(error say which: make $@ $(1)=...))
