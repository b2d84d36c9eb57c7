package netfault

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// overTCP starts a forwarder on a loopback address, and returns it with a target, named n2.
func overTCP(t testing.TB, o Options) (*Forwarder, net.Listener) {
	t.Helper()
	f := New(listen(t), o)
	t.Cleanup(func() { f.Close() })
	target := listen(t)
	f.Name(target.Addr().String(), "n2")
	return f, target
}

// dial returns both ends of a connection through f.
func dial(t testing.TB, f *Forwarder, target net.Listener) (dialler, accepted net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dialler, err := Dial(ctx, f.Addr().String(), "n1", target.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { dialler.Close() })
	accepted, err = target.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	for _, c := range []net.Conn{dialler, accepted} {
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	}
	return dialler, accepted
}

func TestDial_refused_is_found_by_errors_Is(t *testing.T) {
	f, target := overTCP(t, Options{})
	nobody := target.Addr().String()
	require.NoError(t, target.Close())
	_, err := Dial(t.Context(), f.Addr().String(), "n1", nobody)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, nobody)

	_, err = Dial(t.Context(), nobody, "n1", nobody)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "no forwarder")
}

func TestDial_ends_with_its_context_while_the_link_is_cut(t *testing.T) {
	f, target := overTCP(t, Options{})
	f.Cut("n1", "n2")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, f.Addr().String(), "n1", target.Addr().String())
		failed <- err
	}()
	require.Eventually(t, func() bool { return len(f.slots) == 1 }, 5*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.Eventually(t, func() bool { return len(f.slots) == 0 }, 5*time.Second, time.Millisecond)
}

func TestDial_keeps_what_the_target_sends_first(t *testing.T) {
	target := listen(t)
	go func() { // a forwarder that sends the target's first words along with its answer
		conn, err := target.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, _, err := readConnect(conn); err == nil {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\nfirst\nsecond\n")
		}
	}()
	conn, err := Dial(t.Context(), target.Addr().String(), "n1", "n2:1")
	require.NoError(t, err)
	defer conn.Close()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "first\nsecond\n", string(got))
}

func TestDial_wants_a_forwarder(t *testing.T) {
	target := listen(t)
	go func() {
		conn, err := target.Accept()
		if err == nil {
			io.WriteString(conn, "{\"ok\":false}\r\n\r\n")
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	_, err := Dial(t.Context(), target.Addr().String(), "n1", "n2:1")
	require.ErrorContains(t, err, "not a forwarder")

	for _, bad := range []string{"n2:1\r\nFrom: n3", "a b"} {
		_, err = Dial(t.Context(), target.Addr().String(), "n1", bad)
		require.ErrorContains(t, err, "no name")
	}
}

func TestForwarder_reset_of_one_end_ends_the_other(t *testing.T) {
	for _, which := range []string{"dialler", "target"} {
		t.Run(which, func(t *testing.T) {
			f, target := overTCP(t, Options{})
			a, b := dial(t, f, target)
			if which == "target" {
				a, b = b, a
			}
			require.NoError(t, a.(*net.TCPConn).SetLinger(0))
			require.NoError(t, a.Close())
			_, err := b.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			require.Eventually(t, func() bool { return len(f.slots) == 0 }, 5*time.Second, time.Millisecond)
		})
	}
}

// anyFlow reports whether ok holds for any flow of f.
func anyFlow(f *Forwarder, ok func(*flow) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := false
	for s := range f.sessions {
		for _, w := range []*flow{s.there, s.back} {
			w.mu.Lock()
			found = found || ok(w)
			w.mu.Unlock()
		}
	}
	return found
}

func TestForwarder_reset_behind_a_cut_is_noticed_when_it_is_healed(t *testing.T) {
	f, target := overTCP(t, Options{})
	a, b := dial(t, f, target)
	f.Cut("n2", "n1")
	require.NoError(t, b.(*net.TCPConn).SetLinger(0))
	require.NoError(t, b.Close())
	arrived := func() bool {
		return anyFlow(f, func(w *flow) bool { return w.link.from == "n2" && len(w.queue.segments) > 0 })
	}
	require.Eventually(t, arrived, 5*time.Second, time.Millisecond)
	_, err := a.Write([]byte("n1 does not know\n"))
	require.NoError(t, err)
	f.HealAll()
	_, err = a.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestForwarder_is_a_proxy_for_any_client_and_passes_TLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	defer server.Close()
	f := New(listen(t), Options{Raw: true})
	defer f.Close()
	proxy, err := url.Parse("http://" + f.Addr().String())
	require.NoError(t, err)
	transport := &http.Transport{
		Proxy:              http.ProxyURL(proxy),
		ProxyConnectHeader: http.Header{"From": {"n1"}},
		TLSClientConfig:    &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	}
	defer transport.CloseIdleConnections()
	body := strings.Repeat("no newline ", 1<<19) // longer than any line may be
	answer, err := (&http.Client{Transport: transport}).Post(server.URL, "text/plain", strings.NewReader(body))
	require.NoError(t, err)
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.True(t, body == string(got))

	f.Cut("n1", strings.TrimPrefix(server.URL, "https://"))
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	require.NoError(t, err)
	go func() {
		defer cancel()
		swallowed := func() bool {
			return anyFlow(f, func(w *flow) bool { return w.link.from == "n1" && w.queue.gap })
		}
		assert.Eventually(t, swallowed, 5*time.Second, time.Millisecond)
	}()
	_, err = transport.RoundTrip(request)
	require.ErrorIs(t, err, context.Canceled)
}

// BenchmarkForwarder compares a connection through the forwarder with one that is direct:
// a stream of lines in bulk, and one line there and back at a time.
func BenchmarkForwarder(b *testing.B) {
	ways := []struct {
		name string
		dial func(testing.TB) (net.Conn, net.Conn)
	}{
		{"direct", func(b testing.TB) (net.Conn, net.Conn) {
			target := listen(b)
			here, err := net.Dial("tcp", target.Addr().String())
			require.NoError(b, err)
			there, err := target.Accept()
			require.NoError(b, err)
			b.Cleanup(func() { here.Close(); there.Close() })
			return here, there
		}},
		{"forwarder", func(b testing.TB) (net.Conn, net.Conn) {
			f, target := overTCP(b, Options{})
			here, there := dial(b, f, target)
			here.SetDeadline(time.Time{})
			there.SetDeadline(time.Time{})
			return here, there
		}},
	}
	for _, way := range ways {
		for _, size := range []int{100, 10_000} {
			line := []byte(strings.Repeat("x", size-1) + "\n")
			b.Run(fmt.Sprintf("stream/%s/%d", way.name, size), func(b *testing.B) {
				here, there := way.dial(b)
				b.SetBytes(int64(size))
				done := make(chan struct{})
				go func() {
					defer close(done)
					io.Copy(io.Discard, there)
				}()
				for b.Loop() {
					here.Write(line)
				}
				here.(*net.TCPConn).CloseWrite()
				<-done
			})
		}
		b.Run("echo/"+way.name, func(b *testing.B) {
			here, there := way.dial(b)
			go io.Copy(there, there)
			r := bufio.NewReader(here)
			for b.Loop() {
				io.WriteString(here, "x\n")
				if _, err := r.ReadString('\n'); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
