package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/memnet"
	"raftworkbook/stage7-membership/api"
)

// An authority issues certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// above are the certificates that go with those that it issues; none if whoever believes it has its own.
	above [][]byte
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), cert: &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.write("ca", "CERTIFICATE", der)
	return a
}

// under returns an authority that has its own certificate from this one.
func (a *authority) under() *authority {
	b := newAuthority(a.t)
	der, err := x509.CreateCertificate(rand.Reader, b.cert, a.cert, b.key.Public(), a.key)
	require.NoError(a.t, err)
	b.cert, err = x509.ParseCertificate(der)
	require.NoError(a.t, err)
	b.above = [][]byte{der}
	return b
}

func (a *authority) write(name, kind string, ders ...[]byte) string {
	a.t.Helper()
	name = filepath.Join(a.dir, name)
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	require.NoError(a.t, os.WriteFile(name, text, 0o600))
	return name
}

// issue returns the credentials of somebody, which are good for so long, and believe whom this authority does.
func (a *authority) issue(name, unit string, good time.Duration) *api.Credentials {
	return a.issueFor(a, name, unit, good)
}

// issueFor is the same for somebody who believes another authority.
func (a *authority) issueFor(other *authority, name, unit string, good time.Duration) *api.Credentials {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2),
		Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{unit}}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(good),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	c, err := api.LoadCredentials(a.write("of "+name, "CERTIFICATE", append([][]byte{der}, a.above...)...),
		a.write("key of "+name, "PRIVATE KEY", secret), filepath.Join(other.dir, "ca"))
	require.NoError(a.t, err)
	return c
}

// A vault is an office whose nodes prove who they are.
type vault struct {
	*office
	*authority
}

func inVault(t *testing.T, test func(t *testing.T, v *vault)) {
	t.Helper()
	inOffice(t, func(t *testing.T, o *office) { test(t, &vault{o, newAuthority(t)}) })
}

// open starts the links of a node with a name in its certificate, that listens at an address.
func (v *vault) open(self, name, at string, others ...string) *desk {
	creds := v.issue(name, api.NodeRole, time.Hour)
	d := v.desk(hello{Protocol: protocol, Cluster: "c", From: self, Directory: "disk of " + self, Peer: at},
		func(ctx context.Context, to, addr string) (net.Conn, error) {
			conn, err := v.office.dial(ctx, to, addr)
			if err != nil {
				return nil, err
			}
			return creds.Connect(ctx, conn, to)
		})
	d.Follow(members(others...))
	l, err := v.Listen(at)
	require.NoError(v.office.t, err)
	d.serveAt(v.office, creds.Listen(l, true))
	return d
}

// dialAs connects to a node with credentials, and does not look who it is.
func (v *vault) dialAs(c *api.Credentials, at string) (net.Conn, error) {
	conn, err := v.DialContext(context.Background(), "mem", at)
	require.NoError(v.office.t, err)
	v.office.t.Cleanup(func() { conn.Close() })
	return c.Connect(context.Background(), conn, "")
}

func TestNodes_that_prove_who_they_are_have_links(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		a, b := v.open("n1", "n1", "n1", "n2"), v.open("n2", "n2", "n2", "n1")
		time.Sleep(2 * maxPause)
		a.Send("n2", []byte("there\n"))
		require.Equal(t, []string{"n1: there"}, b.take())
		b.Send("n1", []byte("back\n"))
		require.Equal(t, []string{"n2: back"}, a.take())
		require.Empty(t, a.log()+b.log())
	})
}

// attackers are those whom no port lets in.
func (v *vault) attackers() map[string]func(at string) {
	t, other := v.office.t, newAuthority(v.office.t)
	plain := func(text string) func(string) {
		return func(at string) {
			conn, err := v.DialContext(context.Background(), "mem", at)
			require.NoError(t, err)
			defer conn.Close()
			go io.WriteString(conn, text)
			begin := time.Now()
			conn.SetReadDeadline(begin.Add(2 * helloTimeout))
			_, err = io.Copy(io.Discard, conn)
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(begin), helloTimeout)
		}
	}
	as := func(c *api.Credentials) func(string) {
		return func(at string) {
			conn, err := v.dialAs(c, at)
			if err == nil { // in TLS 1.3 whoever dials hears only later that he is refused
				io.WriteString(conn, `{"id":1,"op":"status"}`+"\n")
				_, err = conn.Read(make([]byte, 1))
			}
			require.Error(t, err)
		}
	}
	return map[string]func(at string){
		"garbage":                plain(strings.Repeat("\xff\x00secret", 100)),
		"a hello without TLS":    plain(`{"protocol":1,"cluster":"c","from":"n2","to":"n1"}` + "\n"),
		"a handshake that waits": plain("\x16\x03"),
		"another authority's":    as(other.issueFor(v.authority, "n2", api.NodeRole, time.Hour)),
		"one that has expired":   as(v.issue("n2", api.NodeRole, -time.Second)),
	}
}

func TestAttackers_at_the_port_for_nodes_are_refused_in_one_line_each(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		a, b := v.open("n1", "n1", "n1", "n2"), v.open("n2", "n2", "n2", "n1")
		time.Sleep(2 * maxPause)
		all := v.attackers()
		for name, c := range map[string]*api.Credentials{"a client's": v.issue("n2", "client", time.Hour), "no name": v.issue("", api.NodeRole, time.Hour)} {
			all[name] = func(at string) {
				conn, err := v.dialAs(c, at)
				if err == nil {
					io.WriteString(conn, `{"protocol":1,"cluster":"c","from":"n2","to":"n1","directory":"disk of n2","peer":"n2"}`+"\n")
					_, err = conn.Read(make([]byte, 1))
				}
				require.Error(t, err)
			}
		}
		all["another node's name"] = func(at string) {
			conn, err := v.dialAs(v.issue("n3", api.NodeRole, time.Hour), at)
			require.NoError(t, err)
			h := from("n2")
			_, err = io.WriteString(conn, fmt.Sprintf(`{"protocol":1,"cluster":"c","from":"n2","to":"n1","directory":%q,"peer":"n2"}`+"\nsecret\n", h.Directory))
			require.NoError(t, err)
			answer, err := bufio.NewReader(conn).ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, answer, `its certificate is that of \"n3\"`)
		}
		for name, attack := range all {
			lines := len(a.only("n"))
			attack("n1")
			require.Len(t, a.only("n"), lines+1, "%s: %s", name, a.log())
		}
		require.NotContains(t, a.log(), "secret")
		require.NotContains(t, a.log(), "PRIVATE")
		require.Empty(t, a.take())
		b.Send("n1", []byte("a line\n"))
		require.Equal(t, []string{"n2: a line"}, a.take())
		require.Empty(t, b.log())
	})
}

// An address may be another's by now; its certificate tells.
func TestLink_to_a_node_of_another_name_is_not_made(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		a := v.open("n1", "n1", "n1", "n2")
		b := v.open("n2", "n3", "n2")
		time.Sleep(2 * peerSilence)
		require.Zero(t, a.Up())
		require.Contains(t, a.log(), "no link to n2 at n2: tls: failed to verify certificate: x509: certificate is valid for n3, not n2")
		require.Empty(t, b.take())
	})
}

func TestAttackers_at_the_port_for_clients_are_refused_in_one_line_each(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		var mu sync.Mutex
		var logged []string
		n := alone(t)
		n.Log = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			logged = append(logged, fmt.Sprintf(format, args...))
		}
		s := New(n)
		l, err := v.Listen("n1")
		require.NoError(t, err)
		served := make(chan error)
		go func() { served <- s.Serve(v.issue("n1", api.NodeRole, time.Hour).Listen(l, false)) }()
		defer func() { s.Shutdown(); n.Close(); require.NoError(t, <-served) }()
		time.Sleep(2 * tick) // until its directory is recorded
		before := n.Status()
		for name, attack := range v.attackers() {
			logged = nil
			attack("n1")
			synctest.Wait()
			mu.Lock()
			require.Len(t, logged, 1, "%s: %v", name, logged)
			require.NotContains(t, logged[0], "secret")
			require.NotContains(t, logged[0], "\n")
			mu.Unlock()
		}
		require.Equal(t, before, n.Status())

		conn, err := v.dialAs(v.issue("somebody", "client", time.Hour), "n1")
		require.NoError(t, err)
		u := &user{conn, bufio.NewReader(conn), t}
		u.send(`{"id":1,"op":"put","key":"k","value":"v"}` + "\n")
		u.hears(`{"id":1,"ok":true}`)
		u.Close()

		conn, err = v.DialContext(context.Background(), "mem", "n1")
		require.NoError(t, err)
		u = &user{conn, bufio.NewReader(conn), t}
		u.send(`{"id":1,"op":"get","key":"k"}` + "\n")
		u.hears(`{"id":0,"ok":false,"error":{"code":"bad_request","message":"this server speaks TLS alone: -tls-cert, -tls-key and -tls-ca"}}`)
		u.Close()
	})
}

func TestNode_without_TLS_hears_why_it_is_refused(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		v.open("n1", "n1", "n1", "n2")
		b := v.desk(hello{Protocol: protocol, Cluster: "c", From: "n2", Peer: "n2"}, v.office.dial)
		b.Follow(members("n1"))
		time.Sleep(2 * maxPause)
		require.Contains(t, b.log(), "no link to n1 at n1: it refuses this node: it speaks TLS alone")
	})
}

// Who closes a connection of TLS says so to the other end, and waits until that makes room.
func TestShutdown_does_not_wait_for_a_client_that_reads_nothing_of_TLS(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		v.Buffer = buffer
		n := alone(t)
		defer n.Close()
		s := New(n)
		l, err := v.Listen("n1")
		require.NoError(t, err)
		served := make(chan error)
		go func() { served <- s.Serve(v.issue("n1", api.NodeRole, time.Hour).Listen(l, false)) }()
		value := strings.Repeat("x", api.MaxValue)
		n.store.Do(api.Request{Op: api.Put, Key: "k", Value: &value})
		deaf, err := v.dialAs(v.issue("somebody", "client", time.Hour), "n1")
		require.NoError(t, err)
		_, err = io.WriteString(deaf, `{"id":1,"op":"get","key":"k"}`+"\n")
		require.NoError(t, err)
		synctest.Wait()
		begin := time.Now()
		s.Shutdown()
		require.LessOrEqual(t, time.Since(begin), writeTimeout+lingerTimeout)
		require.NoError(t, <-served)
	})
}

func TestClient_talks_to_nodes_only(t *testing.T) {
	inVault(t, func(t *testing.T, v *vault) {
		other := newAuthority(t)
		for name, server := range map[string]*api.Credentials{
			"a client":                        v.issue("n1", "client", time.Hour),
			"another authority's":             other.issueFor(v.authority, "n1", api.NodeRole, time.Hour),
			"one that has expired":            v.issue("n1", api.NodeRole, -time.Second),
			"a node":                          v.issue("n1", api.NodeRole, time.Hour),
			"a node of an authority under it": v.under().issueFor(v.authority, "n1", api.NodeRole, time.Hour),
		} {
			for _, to := range []string{"", "n1"} {
				here, there := memnet.Pipe(buffer)
				l := server.Listen(&once{conn: there}, false)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					conn, err := l.Accept()
					require.NoError(t, err)
					api.Prove(conn, helloTimeout, nil)
					conn.Close()
				}()
				conn, err := v.issue("somebody", "client", time.Hour).Connect(context.Background(), here, to)
				require.Equal(t, strings.HasPrefix(name, "a node"), err == nil, "%s: %v", name, err)
				if err == nil {
					conn.Close()
				}
				here.Close()
				<-ended
			}
		}
	})
}

// once is a listener to which one connection comes.
type once struct {
	net.Listener
	conn net.Conn
}

func (o *once) Accept() (net.Conn, error) { return o.conn, nil }
