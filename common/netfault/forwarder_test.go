package netfault

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/memnet"
)

// A lab is a forwarder on a network in memory, in a bubble of virtual time.
type lab struct {
	*Forwarder
	t         *testing.T
	network   *memnet.Network
	listener  *memnet.Listener
	listeners map[string]*memnet.Listener
}

// inLab runs a test in a bubble, with nodes n1 and n2 listening at n1:1 and n2:1.
func inLab(t *testing.T, o Options, test func(*testing.T, *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := &memnet.Network{}
		listener, err := network.Listen("forwarder")
		require.NoError(t, err)
		if o.Dial == nil {
			o.Dial = network.DialContext
		}
		l := &lab{New(listener, o), t, network, listener, map[string]*memnet.Listener{}}
		defer l.Close()
		for _, node := range []string{"n1", "n2"} {
			l.listeners[node], err = network.Listen(node + ":1")
			require.NoError(t, err)
			l.Name(node+":1", node)
		}
		test(t, l)
	})
}

// request dials the forwarder and asks for a target.
func (l *lab) request(ctx context.Context, self, target string) (net.Conn, error) {
	conn, err := l.network.DialContext(ctx, "mem", "forwarder")
	require.NoError(l.t, err)
	if err := connect(ctx, conn, self, target); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect returns both ends of a connection through the forwarder.
func (l *lab) connect(from, to string) (dialler, target *end) {
	l.t.Helper()
	conn, err := l.request(l.t.Context(), from, to+":1")
	require.NoError(l.t, err)
	accepted, err := l.listeners[to].Accept()
	require.NoError(l.t, err)
	return newEnd(l.t, conn), newEnd(l.t, accepted)
}

// An end of a connection, for lines.
type end struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func newEnd(t *testing.T, c net.Conn) *end {
	t.Cleanup(func() { c.Close() })
	return &end{c, t, bufio.NewReader(c)}
}

func (e *end) send(s string) {
	e.t.Helper()
	_, err := io.WriteString(e, s)
	require.NoError(e.t, err)
}

func (e *end) wants(line string) {
	e.t.Helper()
	got, err := e.r.ReadString('\n')
	require.NoError(e.t, err)
	require.Equal(e.t, line, got)
}

// hearsNothing waits for an hour in which nothing comes, not even the connection's end.
func (e *end) hearsNothing() {
	e.t.Helper()
	require.NoError(e.t, e.SetReadDeadline(time.Now().Add(time.Hour)))
	got, err := e.r.ReadString('\n')
	require.ErrorContains(e.t, err, "timeout", "got %q", got)
	require.NoError(e.t, e.SetReadDeadline(time.Time{}))
}

func (e *end) wantsEOF() {
	e.t.Helper()
	rest, err := io.ReadAll(e.r)
	require.NoError(e.t, err)
	require.Empty(e.t, rest)
}

func TestForwarder_passes_both_ways_without_delay(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		begin := time.Now()
		a, b := l.connect("n1", "n2")
		a.send("hello\n")
		b.wants("hello\n")
		b.send("half a ")
		b.send("line\n")
		a.wants("half a line\n")
		require.Zero(t, time.Since(begin))
	})
}

// A fault hurts the bytes that flow in its direction, whoever dialled.
func TestForwarder_cut_drops_one_direction(t *testing.T) {
	for _, dialler := range []string{"n1", "n2"} {
		t.Run(dialler+" dialled", func(t *testing.T) {
			inLab(t, Options{}, func(t *testing.T, l *lab) {
				var n1, n2 *end
				if dialler == "n1" {
					n1, n2 = l.connect("n1", "n2")
				} else {
					n2, n1 = l.connect("n2", "n1")
				}
				l.Cut("n1", "n2")
				n1.send("lost\n")
				n2.hearsNothing()
				n2.send("passes\n")
				n1.wants("passes\n")
				l.Heal("n1", "n2")
				n1.send("healed\n")
				n2.wants("healed\n")
			})
		})
	}
}

func TestForwarder_cut_swallows_any_amount(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		l.Cut("n1", "n2")
		line := strings.Repeat("x", 1<<20) + "\n"
		for range 10 { // more than is ever held
			a.send(line)
		}
		l.HealAll()
		a.send("healed\n")
		b.wants("healed\n")
	})
}

func TestForwarder_cut_swallows_while_the_receiver_does_not_read(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		for i := range 100 { // fills the buffers on the way to n2
			a.send(fmt.Sprintf("%02d%s\n", i, strings.Repeat("x", 10_000)))
		}
		l.Cut("n1", "n2")
		for range 10 {
			a.send(strings.Repeat("lost", 1<<18) + "\n")
		}
		l.Heal("n1", "n2")
		a.send("healed\n")
		for i := 0; ; i++ {
			line, err := b.r.ReadString('\n')
			require.NoError(t, err)
			if line == "healed\n" {
				require.Less(t, i, 100, "what was queued is lost")
				break
			}
			require.Equal(t, fmt.Sprintf("%02d%s\n", i, strings.Repeat("x", 10_000)), line)
		}
	})
}

func TestForwarder_faults_are_between_names_not_connections(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		l.Cut("client", "n2")
		a, b := l.connect("n1", "n2")
		a.send("n1 is not client\n")
		b.wants("n1 is not client\n")
		c, d := l.connect("client", "n1")
		c.send("n1 is not n2\n")
		d.wants("n1 is not n2\n")
	})
}

func TestForwarder_delay_holds_each_line_as_long_and_not_the_one_behind_it(t *testing.T) {
	const delay = 200 * time.Millisecond
	for _, c := range []struct {
		name  string
		setUp func(*lab) (from, to *end)
	}{
		{"n1 dialled before", func(l *lab) (from, to *end) {
			from, to = l.connect("n1", "n2")
			l.Delay("n1", "n2", delay)
			return from, to
		}},
		{"n1 dialled after", func(l *lab) (from, to *end) {
			l.Delay("n1", "n2", delay)
			return l.connect("n1", "n2")
		}},
		{"n2 dialled after", func(l *lab) (from, to *end) {
			l.Delay("n1", "n2", delay)
			to, from = l.connect("n2", "n1")
			return from, to
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, Options{}, func(t *testing.T, l *lab) {
				from, to := c.setUp(l)
				begin := time.Now()
				go func() {
					for i := range 1000 {
						from.send(fmt.Sprintf("%d\n", i))
						time.Sleep(time.Millisecond)
					}
				}()
				for i := range 1000 {
					to.wants(fmt.Sprintf("%d\n", i))
					require.Equal(t, delay+time.Duration(i)*time.Millisecond, time.Since(begin))
				}
				to.send("the other way\n")
				now := time.Now()
				from.wants("the other way\n")
				require.Zero(t, time.Since(now))
			})
		})
	}
}

func TestForwarder_heal_lets_go_of_what_is_delayed(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		l.Delay("n1", "n2", time.Hour)
		begin := time.Now()
		a.send("1\n")
		synctest.Wait()
		time.Sleep(time.Second)
		a.send("2\n")
		synctest.Wait()
		l.Heal("n1", "n2")
		a.send("3\n")
		b.wants("1\n")
		b.wants("2\n")
		b.wants("3\n")
		require.Equal(t, time.Second, time.Since(begin))
	})
}

func TestForwarder_stall_holds_back_a_bounded_amount_and_loses_nothing(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		l.Stall("n1", "n2")
		sent := bytes.Repeat([]byte(strings.Repeat("x", 999)+"\n"), 10_000)
		blocked := 0
		go func() {
			require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
			n, err := a.Write(sent)
			require.Error(t, err)
			blocked = n
			require.NoError(t, a.SetWriteDeadline(time.Time{}))
			a.send(string(sent[n:]))
			a.Close()
		}()
		b.hearsNothing()
		require.Greater(t, blocked, maxQueue/2)
		require.Less(t, blocked, maxQueue+chunkSize+2*memnet.DefaultBuffer)
		b.send("the other way\n")
		a.wants("the other way\n")
		l.Heal("n1", "n2")
		got, err := io.ReadAll(b.r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got))
	})
}

func TestForwarder_cut_frees_a_sender_that_a_stall_holds(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		l.Stall("n1", "n2")
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(a, strings.Repeat(strings.Repeat("x", 999)+"\n", 10_000))
			sent <- err
		}()
		synctest.Wait()
		require.Empty(t, sent, "it waits")
		l.Cut("n1", "n2")
		require.NoError(t, <-sent)
		synctest.Wait()
		l.HealAll()
		a.send("healed\n")
		b.wants("healed\n")
	})
}

func TestForwarder_reorder_moves_whole_lines(t *testing.T) {
	inLab(t, Options{Seed: 1}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		require.NoError(t, l.Reorder("n1", "n2"))
		var sent, got []string
		for i := range 50 {
			sent = append(sent, fmt.Sprintf("line %d\n", i))
		}
		a.send(strings.Join(sent, ""))
		for range sent {
			line, err := b.r.ReadString('\n')
			require.NoError(t, err)
			got = append(got, line)
		}
		require.ElementsMatch(t, sent, got)
		require.NotEqual(t, sent, got)
		b.send("1\n2\n3\n")
		for _, line := range []string{"1\n", "2\n", "3\n"} {
			a.wants(line)
		}
	})
}

func TestForwarder_never_lets_a_torn_line_through(t *testing.T) {
	for seed := range uint64(20) {
		inLab(t, Options{Seed: seed}, func(t *testing.T, l *lab) {
			random := rand.New(rand.NewPCG(seed, 2))
			a, b := l.connect("n1", "n2")
			go func() {
				var out []byte
				for i := range 300 {
					out = append(out, fmt.Sprintf("%d.%s.\n", i, strings.Repeat("x", random.IntN(2000)))...)
				}
				for len(out) > 0 {
					n := min(1+random.IntN(3000), len(out))
					a.send(string(out[:n]))
					out = out[n:]
					time.Sleep(time.Duration(random.IntN(2)) * time.Millisecond)
				}
				time.Sleep(time.Second)
				a.Close()
			}()
			go func() {
				random := rand.New(rand.NewPCG(seed, 3))
				for range 200 {
					time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
					switch random.IntN(4) {
					case 0:
						l.Cut("n1", "n2")
					case 1:
						l.Stall("n1", "n2")
					case 2:
						l.Delay("n1", "n2", time.Duration(random.IntN(5))*time.Millisecond)
					default:
						l.HealAll()
					}
				}
				l.HealAll()
			}()
			last, lines := -1, 0
			for {
				line, err := b.r.ReadString('\n')
				if err == io.EOF {
					require.Empty(t, line)
					break
				}
				require.NoError(t, err)
				var i int
				var x string
				_, err = fmt.Sscanf(line, "%d.%s\n", &i, &x)
				require.NoError(t, err, "%q", line)
				require.Equal(t, strings.Repeat("x", len(x)-1)+".", x)
				require.Greater(t, i, last)
				last = i
				lines++
			}
			require.Positive(t, lines)
		})
	}
}

func TestForwarder_connects_over_a_cut_or_stalled_link_only_once_it_is_healed(t *testing.T) {
	for _, c := range []struct {
		name string
		hurt func(*lab)
	}{
		{"cut there", func(l *lab) { l.Cut("n1", "n2") }},
		{"cut back", func(l *lab) { l.Cut("n2", "n1") }},
		{"stalled there", func(l *lab) { l.Stall("n1", "n2") }},
		{"stalled back", func(l *lab) { l.Stall("n2", "n1") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, Options{}, func(t *testing.T, l *lab) {
				c.hurt(l)
				begin := time.Now()
				go func() {
					time.Sleep(time.Second)
					l.Cut("n1", "n3") // another link does not matter
					time.Sleep(time.Second)
					l.Heal("n1", "n2")
					l.Heal("n2", "n1")
				}()
				a, b := l.connect("n1", "n2")
				require.Equal(t, 2*time.Second, time.Since(begin))
				a.send("x\n")
				b.wants("x\n")
			})
		})
	}
}

func TestForwarder_dialler_gives_up_on_a_cut_link(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		l.Cut("n2", "n1")
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := l.request(ctx, "n1", "n2:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(begin))
		synctest.Wait()
		require.Empty(t, l.slots, "the forwarder has noticed")

		_, err = l.request(t.Context(), "n1", "n2:1")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "and gives up by itself")
		require.Equal(t, 3*time.Second+connectTimeout, time.Since(begin))
	})
}

func TestForwarder_hangs_up_on_a_target_that_is_reached_too_late(t *testing.T) {
	var network memnet.Network
	slow := func(_ context.Context, _, address string) (net.Conn, error) {
		time.Sleep(time.Minute)
		return network.DialContext(context.Background(), "mem", address)
	}
	inLab(t, Options{Dial: slow}, func(t *testing.T, l *lab) {
		target, err := network.Listen("n2:1")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.request(ctx, "n1", "n2:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		conn, err := target.Accept()
		require.NoError(t, err)
		newEnd(t, conn).wantsEOF()
	})
}

func TestForwarder_dead_target_is_refused_at_once(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		begin := time.Now()
		_, err := l.request(t.Context(), "n1", "nobody:1")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Zero(t, time.Since(begin))
	})
}

func TestForwarder_says_why_a_target_cannot_be_reached(t *testing.T) {
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, syscall.EHOSTUNREACH }
	inLab(t, Options{Dial: dial}, func(t *testing.T, l *lab) {
		_, err := l.request(t.Context(), "n1", "n2:1")
		require.ErrorContains(t, err, syscall.EHOSTUNREACH.Error())
		require.NotErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestForwarder_close_of_one_end_is_the_end_of_the_other(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		for _, dialler := range []bool{true, false} {
			a, b := l.connect("n1", "n2")
			if !dialler {
				a, b = b, a
			}
			a.send("last words\n")
			require.NoError(t, a.Close())
			b.wants("last words\n")
			b.wantsEOF()
			require.NoError(t, b.Close())
			synctest.Wait()
			require.Empty(t, l.slots, "nothing is left of it")
			require.Empty(t, l.sessions)
		}
	})
}

func TestForwarder_half_close_leaves_the_other_half(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		a.send("question\n")
		closeWrite(a.Conn)
		b.wants("question\n")
		b.wantsEOF()
		b.send("answer\n")
		a.wants("answer\n")
	})
}

func TestForwarder_writer_learns_that_the_other_end_is_gone(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		require.NoError(t, b.Close())
		a.wantsEOF()
		a.send("to nobody\n")
		synctest.Wait()
		_, err := a.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
	})
}

func TestForwarder_death_behind_a_cut_is_noticed_when_it_is_healed(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		l.Cut("n2", "n1")
		require.NoError(t, b.Close())
		a.send("n1 does not know\n")
		a.hearsNothing()
		a.send("nor now\n")
		l.HealAll()
		a.wantsEOF()
	})
}

func TestForwarder_closes_a_connection_with_a_line_above_2_MiB(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		longest := strings.Repeat("x", maxLine) + "\n"
		go a.send(longest)
		b.wants(longest)
		go a.Write([]byte("y" + longest))
		_, err := b.r.ReadString('\n')
		require.Equal(t, io.EOF, err)
		a.wantsEOF()
	})
}

func TestForwarder_raw_connection_that_lost_bytes_is_closed_when_healed(t *testing.T) {
	inLab(t, Options{Raw: true}, func(t *testing.T, l *lab) {
		a, b := l.connect("n1", "n2")
		c, d := l.connect("n1", "n2")
		a.send("not a line")
		_, err := io.ReadFull(b, make([]byte, len("not a line")))
		require.NoError(t, err)
		l.Cut("n1", "n2")
		a.send("lost")
		b.hearsNothing()
		l.HealAll()
		b.wantsEOF()
		a.wantsEOF()
		c.send("lost nothing\n")
		d.wants("lost nothing\n")
		require.Error(t, l.Reorder("n1", "n2"))
	})
}

func TestForwarder_lists_its_faults(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		l.Stall("n2", "n1")
		l.Cut("n1", "n2")
		l.Delay("n1", "n2", 200*time.Millisecond)
		require.NoError(t, l.Reorder("client", "n1"))
		l.Delay("client", "n2", time.Second)
		l.Delay("client", "n2", 0)
		require.Equal(t, []string{
			"client>n1 reorder", "n1>n2 cut", "n1>n2 delay 200ms", "n2>n1 stall",
		}, l.Faults())
		l.Heal("n1", "n2")
		require.Equal(t, []string{"client>n1 reorder", "n2>n1 stall"}, l.Faults())
		l.HealAll()
		require.Empty(t, l.Faults())
	})
}

func TestForwarder_refuses_what_is_no_request(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		for _, c := range []struct {
			request string
			after   time.Duration
		}{
			{"GET / HTTP/1.1\r\nFrom: n1\r\n\r\n", 0},
			{"CONNECT n2:1 HTTP/1.1\r\nHost: n2:1\r\n\r\n", 0},
			{"CONNECT\r\n\r\n", 0},
			{"CONNECT n2:1 HTTP/1.1\r\nFrom\r\n\r\n", 0},
			{strings.Repeat("x", maxHead+1), 0},
			{"CONNECT n2:1 HTTP/1.1\r\nFrom: n1\r\n", headTimeout}, // and no more
		} {
			begin := time.Now()
			conn, err := l.network.DialContext(t.Context(), "mem", "forwarder")
			require.NoError(t, err)
			e := newEnd(t, conn)
			e.send(c.request)
			e.wants("HTTP/1.1 400 Bad Request\r\n")
			_, err = io.ReadAll(e.r)
			require.NoError(t, err)
			require.Equal(t, c.after, time.Since(begin))
		}
	})
}

func TestForwarder_hangs_up_on_a_dialler_that_speaks_before_its_answer(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		l.Cut("n1", "n2")
		conn, err := l.network.DialContext(t.Context(), "mem", "forwarder")
		require.NoError(t, err)
		e := newEnd(t, conn)
		e.send("CONNECT n2:1 HTTP/1.1\r\nFrom: n1\r\n\r\n{}\n")
		begin := time.Now()
		e.wantsEOF()
		require.Zero(t, time.Since(begin))
	})
}

func TestForwarder_outlives_an_accept_that_fails(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		l.listener.FailAccept(syscall.EMFILE)
		a, b := l.connect("n1", "n2")
		a.send("x\n")
		b.wants("x\n")
	})
}

func TestForwarder_has_a_bound_on_connections(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) {
		for range maxSessions {
			conn, err := l.network.DialContext(t.Context(), "mem", "forwarder")
			require.NoError(t, err)
			defer conn.Close()
		}
		synctest.Wait()
		_, err := l.request(t.Context(), "n1", "n2:1")
		require.Error(t, err)
		time.Sleep(headTimeout)
		synctest.Wait()
		a, b := l.connect("n1", "n2")
		a.send("there is room again\n")
		b.wants("there is room again\n")
	})
}

func TestForwarder_close_ends_everything(t *testing.T) {
	inLab(t, Options{}, func(t *testing.T, l *lab) { // the bubble fails if a goroutine is left
		a, b := l.connect("n1", "n2")
		c, d := l.connect("n2", "n1")
		l.Delay("n1", "n2", time.Hour)
		l.Stall("n2", "n1")
		a.send("held\n")
		c.send("held\n")
		silent, err := l.network.DialContext(t.Context(), "mem", "forwarder")
		require.NoError(t, err)
		waiting := make(chan error, 1)
		go func() {
			_, err := l.request(t.Context(), "n1", "n2:1")
			waiting <- err
		}()
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, l.Close())
		require.Error(t, <-waiting)
		for _, e := range []*end{a, b, c, d, newEnd(t, silent)} {
			e.wantsEOF()
		}
		require.Zero(t, time.Since(begin))
	})
}
