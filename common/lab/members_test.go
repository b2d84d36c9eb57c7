package lab

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMembers_come_and_go_and_the_lab_with_them(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 7, Nodes: 3})
	run(t, l, "put x 1 => ok", "members => n1 voter n2 voter n3 voter",
		"add n6 n7 => ok", "wait members @n6 => n1 voter n2 voter n3 voter n6 voter n7 voter", "wait members @n7 => n1 voter n2 voter n3 voter n6 voter n7 voter",
		"isolate n6", "heal", "put y 2 => ok", "wait get y @n6 => 2",
		"remove n2 n3 => ok", "members => n1 voter n6 voter n7 voter", "get x @n2 => 1")
	require.Equal(t, []string{"n1", "n2", "n3", "n6", "n7"}, l.ids(), "they run")
	answer, err := l.Run(t.Context(), "run servers")
	require.NoError(t, err)
	require.Equal(t, strings.Join([]string{l.block.client(1), l.block.client(6), l.block.client(7)}, ","), answer)

	run(t, l, "kill n2 => ok")
	require.Equal(t, []string{"n1", "n3", "n6", "n7"}, l.ids())
	_, err = l.Run(t.Context(), "restart n2")
	require.EqualError(t, err, `there is no node "n2"; there is n1, n3, n6, n7`)
	got, _, _ := l.complete("kill n7", len("kill n7"), '\t')
	require.Equal(t, "kill n7", got)

	run(t, l, "replace n3 n2 => ok", "members => n1 voter n2 voter n6 voter n7 voter", "kill n3 => ok", "kill n6 => ok")
	require.Equal(t, []string{"n1", "n2", "n6", "n7"}, l.ids(), "n2 is a member again, and n6 a dead one")
}

func TestAdd_asks_again_while_it_is_not_done_and_tells_how_far_a_new_member_is(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	t.Setenv("FAKE_CHANGE", "slow")
	var out lockedBuffer
	l, err := Start(t.Context(), Options{Stage: 7, Nodes: 1, Out: &out})
	require.NoError(t, err)
	run(t, l, "add n6 => ok", "members => n1 voter n6 voter")
	require.NoError(t, l.Close())
	require.Contains(t, out.String(), "n6 has 1200 of 1234567 entries\n")
}

func TestAdd_of_a_node_that_does_not_become_a_member_leaves_it_until_it_is_killed(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	t.Setenv("FAKE_CHANGE", "never")
	l := startLab(t, Options{Stage: 7, Nodes: 1})
	run(t, l, "add n6 => error not_level")
	require.Equal(t, []string{"n1", "n6"}, l.ids())
	run(t, l, "run servers => "+l.block.client(1), "kill n6 => ok")
	require.Equal(t, []string{"n1"}, l.ids())
	run(t, l, "add n6 => error not_level")
	require.Equal(t, []string{"n1", "n6"}, l.ids())
}

func TestAdd_that_fails_leaves_members_what_they_are(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 7, Nodes: 1})
	_, err := l.Run(t.Context(), "add n1 foo")
	require.ErrorContains(t, err, "foo is no name of a node")
	run(t, l, "put x 1 => ok", "get x => 1", "add n6 => ok")

	broken := filepath.Join(filepath.Dir(l.Nodes()[0].Dir), "n7")
	require.NoError(t, os.Mkdir(broken, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "data"), []byte("{"), 0o644))
	_, err = l.Run(t.Context(), "add n6 n7")
	require.ErrorContains(t, err, "n7 does not start")
	run(t, l, "kill n6 => ok")
	require.Equal(t, []string{"n1", "n6"}, l.ids())

	require.NoError(t, os.WriteFile(filepath.Join(l.Nodes()[1].Dir, "data"), []byte("{"), 0o644))
	_, err = l.Run(t.Context(), "add n6")
	require.ErrorContains(t, err, "n6 does not start")
	require.Equal(t, []string{"n1", "n6"}, l.ids(), "it is a member that cannot run")
}

func TestAdd_that_is_refused_leaves_members_what_they_are(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	t.Setenv("FAKE_CHANGE", "never")
	l := startLab(t, Options{Stage: 7, Nodes: 2})
	run(t, l, "add n2 n6 => error not_level", "kill n2 => ok", "kill n6 => ok", "restart n2 => ok")
	require.Equal(t, []string{"n1", "n2"}, l.ids())
}

func TestAdd_that_may_go_on_leaves_a_node_that_was_removed_before(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	t.Setenv("FAKE_CHANGE", "late")
	l := startLab(t, Options{Stage: 7, Nodes: 3})
	run(t, l, "remove n3 => ok", "kill n3 => ok")
	require.Equal(t, []string{"n1", "n2"}, l.ids())

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	answer, err := l.Run(ctx, "add n3")
	require.NoError(t, err)
	require.Contains(t, answer, "error timeout: ")
	run(t, l, "run servers => "+strings.Join(l.clientAddrs(), ","), "kill n3 => ok")
	require.Equal(t, []string{"n1", "n2", "n3"}, l.ids(), "it may have become a member")
}

func TestNo_node_to_ask_is_an_answer(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 7, Nodes: 1})
	l.follow(nil)
	run(t, l, "timeout 50ms", "put x 1 => error unavailable: no node takes it", "get x => error unavailable: no node takes it")
}

func TestTransfer_has_another_lead_and_the_client_goes_there(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 7, Nodes: 3})
	run(t, l, "cut client n1", "transfer n3 => ok")
	require.Equal(t, "n3", l.client.leaderNow())
	run(t, l, "put x 1 @n3 => ok", "kill n3", "timeout 100ms", "transfer n2 => error unavailable: nobody leads", "remove n2 => error unavailable: nobody leads")
}

func TestChanges_that_make_no_sense_say_what_would(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 7, Nodes: 2})
	for _, c := range []struct{ line, message string }{
		{"members n1", `what is "n1" for?`},
		{"add", "something is missing; usage: add n6 [n7 ...]"},
		{"add six", "six is no name of a node: n1 to n98 are"},
		{"add n06", "n06 is no name of a node"},
		{"add n99", "n99 is no name of a node"},
		{"remove", "something is missing; usage: remove n2 [n3 ...]"},
		{"remove n3", `there is no node "n3"; there is n1, n2`},
		{"replace n1", "something is missing; usage: replace n2 n6"},
		{"replace n1 n6 n7", `what is "n7" for?`},
		{"transfer", "which node? there is n1, n2"},
		{"transfer n3", `there is no node "n3"`},
	} {
		_, err := l.Run(t.Context(), c.line)
		require.ErrorContains(t, err, c.message, c.line)
	}
	run(t, l, "kill n1", "kill n2")
	_, err := l.Run(t.Context(), "add n3")
	require.EqualError(t, err, "no node says which cluster it belongs to")
	require.Equal(t, []string{"n1", "n2"}, l.ids())
	_, err = startLab(t, Options{Stage: 2}).Run(t.Context(), "add n6")
	require.EqualError(t, err, "add comes with stage 7; this is stage 2")
}

func TestWipe_empties_the_directory_of_a_dead_node(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 2})
	run(t, l, "put x 1 => ok", "wait get x @n2 => 1")
	_, err := l.Run(t.Context(), "wipe n2")
	require.EqualError(t, err, "n2 runs; kill n2 first")
	run(t, l, "kill n2 => ok", "wipe n2 => ok")
	require.True(t, isEmpty(l.Nodes()[1].Dir))
	run(t, l, "restart n2 => ok", "get x @n2 => absent", "get x @n1 => 1")
	_, err = startLab(t, Options{Stage: 2}).Run(t.Context(), "wipe n1")
	require.EqualError(t, err, "wipe comes with stage 3; this is stage 2")
}

func TestRestart_among_some_starts_a_node_that_knows_no_others(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	run(t, l, "restart n1 among n1,n2 => ok", "put x 1 => ok", "wait get x @n2 => 1", "get x @n3 => absent",
		"restart n1 => ok", "put y 2 => ok", "wait get y @n3 => 2")
	for _, c := range []struct{ line, message string }{
		{"restart n1 among", "something is missing; usage: restart n1"},
		{"restart n1 among n1,n4", `there is no node "n4"`},
		{"restart n1 among n1 n2", `what is "n2" for?`},
		{"restart n1 between n1", `what is "between n1" for?`},
	} {
		_, err := l.Run(t.Context(), c.line)
		require.ErrorContains(t, err, c.message, c.line)
	}
	_, err := startLab(t, Options{}).Run(t.Context(), "restart n1 among n1")
	require.EqualError(t, err, `what is "among n1" for?`)
}

func TestRestart_with_more_flags_gives_them_to_the_node_until_it_is_killed(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	run(t, l, "restart n3 -leader n3 => ok", "put x 1 @n3 => ok", "restart n3 => ok", "put x 2 @n3 => error not_leader")
	_, err := l.Run(t.Context(), "restart n3 -frob")
	require.EqualError(t, err, "n3 does not start: exit status 2: flag provided but not defined: -frob")
}

func TestTLS_is_spoken_by_nodes_and_clients_and_leaves_no_file(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	dir := t.TempDir()
	l := startLab(t, Options{Stage: 7, Nodes: 2, Dir: dir, TLS: true})
	run(t, l, "put x 1 => ok", "wait get x @n2 => 1", "add n6 => ok", "wait members @n6 => n1 voter n2 voter n6 voter", "put y 2 => ok", "wait get y @n6 => 2", "status",
		"run say a => -tls-cert "+l.authority.file("client")+" -tls-key "+l.authority.file("client-key")+" -tls-ca "+l.authority.file("ca")+" a")

	_, err := l.dial(t.Context(), &member{Node: Node{ID: "n2", Client: l.block.client(1)}})
	require.ErrorContains(t, err, "certificate is valid for n1, not n2")
	for at, want := range map[string]string{l.block.client(2): "n2", l.block.client(3): ""} {
		conn, err := l.Dial(t.Context(), at)
		if want == "" {
			require.EqualError(t, err, "no node serves clients at "+at)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName)
		require.NoError(t, conn.Close())
	}
	require.Contains(t, l.banner(), "  "+l.opt.Bin+" get -servers "+l.block.client(1)+" -tls-cert "+l.authority.file("client")+" ")
	info, err := os.Stat(l.authority.file("n1-key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, l.Close())
	require.NoDirExists(t, l.authority.dir)
	require.DirExists(t, filepath.Join(dir, "n1"))
}

// What is encrypted has no lines: a newline in it is one by chance.
func TestTLS_is_cut_at_any_byte_and_works_again_when_it_is_healed(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 7, Nodes: 2, TLS: true})
	require.Error(t, l.forwarder.Reorder("n1", "n2"), "there are no lines")
	run(t, l, "put x 1 => ok")
	for range 4 {
		run(t, l, "cut client n1", "timeout 200ms", "put x 2 @n1 => error timeout: outcome unknown",
			"heal", "timeout 2s", "wait get x @n1 => 1", "put y 1 => ok")
	}
}
