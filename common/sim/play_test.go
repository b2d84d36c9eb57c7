package sim

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// play plays lines and returns what the nodes say, or the error in place of it.
func play(t *testing.T, lines ...string) string {
	t.Helper()
	p := newPlayer(broken(""))
	for _, line := range lines {
		if err := p.play(line); err != nil {
			return err.Error()
		}
	}
	return p.out.String()
}

// playSnapping does so with nodes that take snapshots.
func playSnapping(lines ...string) string {
	p := newPlayer(snapping(""))
	for _, line := range lines {
		if err := p.play(line); err != nil {
			return err.Error()
		}
	}
	return p.out.String()
}

func TestPlayer_saves_snapshots(t *testing.T) {
	for _, c := range []struct{ name, lines, says string }{
		{"one", "propose n1 a\ndeliver\nshow n1\nsnapshot n1",
			"n1   saves    a snapshot up to 2@2\nn1   compacts a snapshot up to 2@2\n     stays    leader t2 last=2@2 commit=2 applied=2\n     saves    "},
		{"one twice", "snapshot n1\nshow n1\nsnapshot n1", "n1   compacts a snapshot up to 1@2\n     stays    leader t2 last=1@2 commit=1 applied=1\n"},
		{"after a restart", "snapshot n1\ncrash n1\nshow n1\nrestart n1", "n1   starts\n     is       follower t2 last=1@2 commit=1 applied=1\n"},
		{"for one who lacks what is gone", "nodes 3\ncrash n3\nlead n1\ndeliver\nsnapshot n1\nrestart n3\ntick n1\nshow n3\ndeliver",
			"n3   hears    n1 a snapshot up to 1@3\n     was      follower t0 last=0@0 commit=0 applied=0\n     is       follower t3 last=1@3 commit=1 applied=1\n"},
		{"of none with a log of the script", "snapshot n1\nlog n1 1 1\nexpect n1 log 1 1", ""},
		{"a log that is left", "propose n1 a\nsnapshot n1\nexpect n1 log after 1 2", ""},
		{"a log that is gone", "snapshot n1\nexpect n1 log after 1", ""},
		{"another log", "snapshot n1\nexpect n1 log 2", "expect n1 log 2: it is after 1"},
		{"the same", "propose n1 a\ndeliver\ntick n1\ndeliver\nsnapshot n1\nexpect same", ""},
		{"not the same", "snapshot n1\npropose n1 a\nexpect same", "expect same: n1 has 2@2, and n2 has 1@2"},
		{"nothing to take one of", "nodes 1\nsnapshot n1", "snapshot n1: it has applied nothing"},
		{"by the dead", "crash n1\nsnapshot n1", "snapshot n1: n1 is dead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := playSnapping(append(slices.Clone(prepared), strings.Split(c.lines, "\n")...)...)
			if require.Contains(t, said, c.says); c.says == "" {
				require.NotContains(t, said, "expect")
			}
		})
	}
}

// prepared are two nodes, the first of which leads, and nothing on its way.
var prepared = []string{"show nothing", "nodes 2", "lead n1", "deliver", "show all"}

func TestPlayer_writes_what_the_nodes_say(t *testing.T) {
	require.Equal(t, `n1   ordered  to lead
     was      follower t0 last=0@0 commit=0 applied=0
     is       leader   t2 last=1@2 commit=0 applied=0
     because  the operator's order
     saves    term 2 1@2
     sends    n2 append 1 entries after 0
     log      1@2
n2   hears    n1 append 1 entries after 0
     was      follower t0 last=0@0 commit=0 applied=0
     is       follower t2 last=1@2 commit=0 applied=0
     saves    term 2 1@2
     sends    n1 appended 1
     log      1@2
n1   hears    n2 appended 1
     was      leader t2 last=1@2 commit=0 applied=0
     is       leader t2 last=1@2 commit=1 applied=1
     sends    n2 append 0 entries after 1
     commits  1@2
     log      1@2
`, play(t, "nodes 2", "lead n1", "deliver n1>n2", "deliver n2>n1"))
}

func TestPlayer_obeys(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines string
		says  string // a piece of it
		not   string // what it does not say
	}{
		{"comments", "# nothing\n\n", "", "n"},
		{"lead", "lead n1 7", "is       leader t8 ", ""},
		{"propose", "propose n1 a b", "is asked a: it is 2@2\n     is asked b: it is 3@2\n", ""},
		{"propose elsewhere", "propose n2 a", "is asked a: not the leader\n", ""},
		{"tick", "tick n1 2", "n1   ticks\n     stays    leader t2 last=1@2 commit=1 applied=1\n     sends    n2 append 0 entries after 1\n     log      1@2\nn1   ticks\n", ""},
		{"deliver the oldest", "propose n1 a\npropose n1 b\nshow n2\ndeliver n1>n2", "hears    n1 append 1 entries after 1\n", "hears    n1 append 2"},
		{"deliver two", "propose n1 a\npropose n1 b\nshow n2\ndeliver n1>n2 2", "hears    n1 append 2 entries after 1\n", ""},
		{"deliver between two", "nodes 3\nshow nothing\nlead n1\nshow all\ndeliver n1 n2", "n2   hears    n1", "n3   hears"},
		{"drop all", "propose n1 a\ndrop\nshow n2\ndeliver", "", "hears"},
		{"drop says so", "tick n1\ndrop", "net  loses    n1>n2 append 0 entries after 1\n", ""},
		{"drop one", "propose n1 a\npropose n1 b\nshow n2\ndrop n1>n2\ndeliver", "hears    n1 append 2 entries after 1\n", "hears    n1 append 1"},
		{"delay", "propose n1 a\nshow n2\ndelay n1>n2\ndeliver", "", "hears"},
		{"late", "propose n1 a\ndelay n1>n2\ndeliver\nshow n2\nlate n1>n2", "hears    n1 append 1 entries after 1\n", ""},
		{"duplicate", "tick n1\nduplicate n1>n2\nshow n2\ndeliver\nlate n1>n2", "log      1@2\nn2   hears    n1 append 0 entries after 1\n", ""},
		{"forge", "forge n1 n2 9", "n2   hears    n1 appended 0\n     was      follower t2 last=1@2 commit=0 applied=0\n     is       follower t9 ", ""},
		{"cut one way", "cut n1>n2\ntick n1\nheal\ntick n1", "after 1 LOST\n", "loses"},
		{"cut the other way", "cut n2>n1\ntick n1", "", "LOST"},
		{"cut both ways", "cut n2 n1\ntick n1", "LOST", ""},
		{"isolate", "isolate n2\ntick n1", "LOST", ""},
		{"heal", "isolate n2\nheal\ntick n1", "", "LOST"},
		{"crash", "crash n2\ntick n1\ndeliver", "n2   crashes\n", "n2   hears"},
		{"what comes to the dead is lost", "crash n2\ntick n1\ndeliver", "net  loses    n1>n2 append 0 entries after 1\n", ""},
		{"restart", "crash n1\nrestart n1", "n1   starts\n     is       follower t2 last=1@2 commit=0 applied=0\n     log      1@2\n", ""},
		{"pause", "pause n2\ntick n1\ndeliver", "n2   pauses\n", "n2   hears"},
		{"resume", "pause n2\ntick n1 2\ndeliver\nshow n2\nresume n2",
			"n2   resumes\nn2   hears    n1 append 0 entries after 1 (2 times)\n", ""},
		{"log", "log n2 1 1 3", "n2   starts\n     is       follower t3 last=3@3 commit=0 applied=0\n     log      1..2@1 3@3\n", ""},
		{"show", "show n2\ntick n1\ndeliver", "n2   hears", "n1   "},
		{"expect a state", "expect n1 leader t2 last=1@2 commit=1", "", "n"},
		{"expect a log", "expect n2 log 2", "", "n"},
		{"expect the same", "expect same", "", "n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := play(t, append(prepared, strings.Split(c.lines, "\n")...)...)
			require.Contains(t, said, c.says)
			if c.not != "" {
				require.NotContains(t, said, c.not)
			}
		})
	}
}

func TestPlayer_says_what_is_wrong(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"frob", `there is no "frob", only batch, change, crash, cut, delay, `},
		{"lead", "lead takes NODE [TERM]: a later one than TERM"},
		{"heal n1", "heal takes all links"},
		{"lead n9", "lead n9: there is no node n9"},
		{"lead n1 x", "lead n1 x: "},
		{"tick n1 x", "tick n1 x: "},
		{"log n1 x", "log n1 x: "},
		{"nodes 3\nbatch 1", "batch 1: it belongs before the nodes"},
		{"nodes 3\nkeep 1", "keep 1: it belongs before the nodes"},
		{"nodes 3\ninflight 1", "inflight 1: it belongs before the nodes"},
		{"deliver n1", "deliver n1: from whom to whom?"},
		{"deliver n1>n2", "deliver n1>n2: there is no message"},
		{"drop n1>n2", "drop n1>n2: there is no message"},
		{"delay n1>n2", "delay n1>n2: there is no message"},
		{"duplicate n1>n2", "duplicate n1>n2: there is no message"},
		{"late n1>n2", "late n1>n2: there is no message"},
		{"forge x", "forge x: EOF"},
		{"cut n1", "cut n1: no link"},
		{"cut n1>n9", "cut n1>n9: no link\nthere is no node n9"},
		{"isolate n9", "isolate n9: there is no node n9"},
		{"restart n1", "restart n1: it lives"},
		{"crash n1\ncrash n1", "crash n1: n1 is dead"},
		{"crash n1\ntick n1", "tick n1: n1 is dead"},
		{"crash n1\npause n1", "pause n1: n1 is dead"},
		{"crash n1\nresume n1", "resume n1: n1 is dead"},
		{"crash n1\nexpect n1 leader", "expect n1 leader: n1 is dead"},
		{"lead n1\nexpect n1 follower", "expect n1 follower: it is leader t3 last=1@3 commit=0 applied=0"},
		{"log n1 1 2\nexpect n1 log 1 1", "expect n1 log 1 1: it is 1 2"},
		{"log n1 1 2\nlog n2 1 1\nlog n3 1 2\nexpect same", "expect same: n1 has 1@1 2@2, and n2 has 1..2@1"},
	} {
		t.Run(c.lines, func(t *testing.T) {
			require.Contains(t, play(t, strings.Split(c.lines, "\n")...), c.want)
		})
	}
}

func TestPlayer_sends_as_much_as_it_is_told(t *testing.T) {
	p := newPlayer(broken(""))
	for _, line := range []string{"batch 7", "inflight 3", "keep 5", "nodes L a b"} {
		require.NoError(t, p.play(line))
	}
	o := p.nodes[2].core.(*fake).Options
	o.ElectionTicks, o.Random = 0, nil
	require.Equal(t, Options{ID: "b", Nodes: []string{"L", "a", "b"}, HeartbeatTicks: 1, MaxBatch: 7, MaxInflight: 3, MaxUncommitted: 1 << 20, Explain: true, KeepBytes: 5}, o)
}

const story = `# n1 leads.
nodes 1
lead n1
----
n1   ordered  to lead
     was      follower t0 last=0@0 commit=0 applied=0
     is       leader   t1 last=1@1 commit=0 applied=0
     because  the operator's order
     saves    term 1 1@1
     log      1@1
n1   goes on
     was      leader t1 last=1@1 commit=0 applied=0
     is       leader t1 last=1@1 commit=1 applied=1
     commits  1@1
     log      1@1

# And dies.

crash n1
----
n1   crashes
`

func TestGolden_plays_a_file(t *testing.T) {
	for name, was := range map[string]string{
		"as it is":          story,
		"with an old trace": strings.ReplaceAll(story, "t1", "t7"),
		"without a trace":   "# n1 leads.\nnodes 1\nlead n1\n----\n\n# And dies.\n\ncrash n1",
	} {
		now, err := replay(broken(""), was)
		require.NoError(t, err, name)
		require.Equal(t, story, now, name)
	}
	_, err := replay(broken(""), "# n1 leads.\n\nlead n9\n")
	require.EqualError(t, err, "3: lead n9: there is no node n9")
}

func TestGolden_shows_the_first_difference(t *testing.T) {
	require.Equal(t, "2: it was\nb\nc\nand now it is\nB\nc", difference("a\nb\nc", "a\nB\nc"))
	require.Equal(t, "2: it was\n\nand now it is\nb", difference("a", "a\nb"))
}

func TestGolden_requires_what_the_nodes_say_now_or_writes_it(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a-story.trace")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(story, "t1", "t7")), 0o644))
	require.ErrorContains(t, golden(broken(""), file, false), "a-story.trace:7: it was\n     is       leader   t7")
	require.NoError(t, golden(broken(""), file, true))
	require.NoError(t, golden(broken(""), file, false))
	now, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, story, string(now))

	require.NoError(t, os.WriteFile(file, []byte("frob\n"), 0o644))
	require.ErrorContains(t, golden(broken(""), file, true), `a-story.trace:1: there is no "frob"`)
	require.Error(t, golden(broken(""), file+"s", false))

	require.NoError(t, os.WriteFile(file, []byte(story), 0o644))
	Golden(t, broken(""), file, false)
}
