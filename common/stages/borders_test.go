package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// bordered is a workbook that uses all that it may.
const bordered = `-- go.mod --
module raftworkbook
-- RULES.md --
# Rules
-- common/lab/lab.go --
package lab

import _ "golang.org/x/term"
-- stage0-server/main.go --
package main

import (
	_ "net"
	_ "raftworkbook/common/lab"
	_ "raftworkbook/stage0-server/raft"
)
-- stage0-server/raft/raft.go --
package raft

import _ "fmt"
-- stage0-server/raft/raft_test.go --
package raft

import (
	_ "time"
	_ "raftworkbook/common/lab"
	_ "github.com/stretchr/testify/require"
)

func start() { go start() }`

func TestBorders_allow_what_they_should(t *testing.T) {
	require.Empty(t, problems(t, plant(t, bordered), ""))
}

func TestBorders_name_whoever_crosses_one(t *testing.T) {
	const impure = "the algorithm knows no time, network, files, randomness or locks (common/stages/borders.go lists what it may use)"
	for _, c := range []struct {
		name, file, text string // what is planted
		want             string
	}{
		{"a stage imports a stage", "stage0-server/kv/kv.go", "package kv\nimport _ \"raftworkbook/stage1-client/kv\"",
			"imports raftworkbook/stage1-client/kv: no stage imports another"},
		{"a stage's test imports a stage", "stage0-server/kv/kv_test.go", "package kv\nimport _ \"raftworkbook/stage1-client/kv\"",
			"imports raftworkbook/stage1-client/kv: no stage imports another"},
		{"a stage needs another module", "stage0-server/server/server.go", "package server\nimport _ \"golang.org/x/term\"",
			"imports golang.org/x/term: beside the workbook itself, a stage runs on the standard library alone"},
		{"common imports a stage", "common/sim/sim.go", "package sim\nimport _ \"raftworkbook/stage0-server/raft\"",
			"imports raftworkbook/stage0-server/raft: common must not know any stage"},
		{"common's test imports a stage", "common/sim/sim_test.go", "package sim\nimport _ \"raftworkbook/stage0-server/raft\"",
			"imports raftworkbook/stage0-server/raft: common must not know any stage"},
		{"kv uses a tool", "stage0-server/kv/kv.go", "package kv\nimport _ \"raftworkbook/common/trace\"",
			"imports raftworkbook/common/trace: common holds tools, and kv is the lesson"},
		{"raft knows time", "stage0-server/raft/log.go", "package raft\nimport _ \"time\"", "imports time: " + impure},
		{"raft knows the network", "stage0-server/raft/log.go", "package raft\nimport _ \"net/http\"", "imports net/http: " + impure},
		{"raft knows files", "stage0-server/raft/log.go", "package raft\nimport _ \"os\"", "imports os: " + impure},
		{"raft is random", "stage0-server/raft/log.go", "package raft\nimport _ \"math/rand/v2\"", "imports math/rand/v2: " + impure},
		{"raft locks", "stage0-server/raft/log.go", "package raft\nimport _ \"sync\"", "imports sync: " + impure},
		{"raft starts a goroutine", "stage0-server/raft/log.go", "package raft\nfunc f() {\n\tgo f()\n}",
			"line 3 starts a goroutine: the algorithm starts none"},
		{"something else is at the top", "notes.txt", "",
			"does not belong at the top, only README.md, RULES.md, DIFFERENCES.md, Makefile, go.mod, go.sum, common and the stages do"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := plant(t, bordered)
			put(t, root, c.file, c.text)
			require.Equal(t, []string{c.file + ": " + c.want}, problems(t, root, ""))
		})
	}
}

func TestBorders_raft_uses_no_tool(t *testing.T) {
	root := plant(t, bordered)
	put(t, root, "stage0-server/raft/log.go", "package raft\nimport _ \"raftworkbook/common/trace\"")
	require.Contains(t, problems(t, root, ""),
		"stage0-server/raft/log.go: imports raftworkbook/common/trace: common holds tools, and raft is the lesson")
}
