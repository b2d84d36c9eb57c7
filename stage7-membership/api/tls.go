package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"
)

// NodeRole is the organizational unit of a node's certificate. Its common name, and the host that it is for, are the node's
// id. A client's has another unit, or none.
const NodeRole = "node"

// Credentials are a certificate by which somebody proves who he is, and the authority whose certificates he believes. Both
// ends of a connection need them (TLS 1.3).
type Credentials struct {
	certificate tls.Certificate
	authority   *x509.CertPool
}

// LoadCredentials reads them from files in PEM.
func LoadCredentials(certificate, key, authority string) (*Credentials, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("there is no certificate in %s", authority)
	}
	return &Credentials{pair, pool}, nil
}

// Listen has whoever connects to l prove who he is: a node, or anybody with a certificate of the authority.
func (c *Credentials) Listen(l net.Listener, nodesOnly bool) net.Listener {
	config := c.config()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, c.authority
	if nodesOnly {
		config.VerifyConnection = isNode
	}
	return tls.NewListener(l, config)
}

// Connect makes sure that at the other end of conn is a node: that of the id to, or any if that is empty. If it is not, it
// closes conn.
func (c *Credentials) Connect(ctx context.Context, conn net.Conn, to string) (net.Conn, error) {
	config := c.config()
	config.ServerName, config.RootCAs, config.VerifyConnection = to, c.authority, isNode
	if to == "" {
		config.InsecureSkipVerify = true // of the name; the rest is checked here
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if err := c.believes(s.PeerCertificates); err != nil {
				return err
			}
			return isNode(s)
		}
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// believes fails unless the authority stands behind the first certificate, be it by way of the others.
func (c *Credentials) believes(certificates []*x509.Certificate) error {
	between := x509.NewCertPool()
	for _, certificate := range certificates[1:] {
		between.AddCert(certificate)
	}
	_, err := certificates[0].Verify(x509.VerifyOptions{Roots: c.authority, Intermediates: between})
	return err
}

func (c *Credentials) config() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.certificate}, MinVersion: tls.VersionTLS13}
}

// isNode fails unless the other end's certificate is a node's.
func isNode(s tls.ConnectionState) error {
	who := s.PeerCertificates[0].Subject
	if who.CommonName == "" || !slices.Contains(who.OrganizationalUnit, NodeRole) {
		return errors.New("the certificate is no node's")
	}
	return nil
}

// Prove has the other end of conn prove who it is, within a time, and returns its name. Where there is no TLS it returns
// nothing. Whoever speaks without it is sent the refusal, as JSON in plain text.
func Prove(conn net.Conn, within time.Duration, refusal any) (name string, err error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", nil
	}
	conn.SetDeadline(time.Now().Add(within))
	defer conn.SetDeadline(time.Time{})
	if err := secure.Handshake(); err != nil {
		if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
			json.NewEncoder(plain.Conn).Encode(refusal)
		}
		return "", err
	}
	return secure.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}
