package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// nodeUnit is the organizational unit of the nodes' certificates; that of the client's is another.
const (
	nodeUnit   = "node"
	clientUnit = "client"
)

// certTime is how long certificates are good for, longer than any lab runs.
const certTime = 30 * 24 * time.Hour

// An authority issues the certificates of one lab, to its nodes and to the prompt's client. All of it is in files of a
// temporary directory, the keys included, but for its own key.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	client *tls.Config
}

// useTLS has all nodes and clients prove who they are from now on.
func (l *Lab) useTLS() error {
	dir, err := l.temporary()
	if err != nil {
		return err
	}
	l.authority, err = newAuthority(filepath.Join(dir, "tls"))
	return err
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate("lab", "authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := writePEM(a.file("ca"), "CERTIFICATE", der); err != nil {
		return nil, err
	}
	if err := a.issue(clientName, clientUnit); err != nil {
		return nil, err
	}
	own, err := tls.LoadX509KeyPair(a.file(clientName), a.file(clientName+"-key"))
	if err != nil {
		return nil, err
	}
	believed := x509.NewCertPool()
	believed.AddCert(a.cert)
	a.client = &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: believed, MinVersion: tls.VersionTLS13}
	return a, nil
}

// issue writes a certificate and its key for whoever has this name.
func (a *authority) issue(name, unit string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate(name, unit), a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(a.file(name), "CERTIFICATE", der); err != nil {
		return err
	}
	return writePEM(a.file(name+"-key"), "PRIVATE KEY", secret)
}

func certificate(name, unit string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name, OrganizationalUnit: []string{unit}},
		DNSNames:     []string{name},
		NotBefore:    now.Add(-time.Hour), // clocks may be set back
		NotAfter:     now.Add(certTime),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

func writePEM(name, kind string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// flags tell a program who it is, and whom to believe.
func (a *authority) flags(name string) []string {
	return []string{"-tls-cert", a.file(name), "-tls-key", a.file(name + "-key"), "-tls-ca", a.file("ca")}
}

// prove makes sure that at the other end of the client's connection is node id, and proves who the client is. Where there
// is no TLS it does nothing. If it fails, it closes conn.
func (a *authority) prove(ctx context.Context, conn net.Conn, id string) (net.Conn, error) {
	if a == nil {
		return conn, nil
	}
	config := a.client.Clone()
	config.ServerName = id
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
