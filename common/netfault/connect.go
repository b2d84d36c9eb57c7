package netfault

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxHead is the longest head of a request or an answer, in bytes.
const maxHead = 4 << 10

// refused is how an answer says that nobody listens at the target (RFC 9209).
const refused = "connection_refused"

// Dial connects to target through the forwarder at via, as node self. It returns an error
// for which errors.Is finds syscall.ECONNREFUSED if nobody listens at target (or at via), and
// ctx's error if ctx ends first, as it may when the way is cut. The connection is a
// *net.TCPConn, and nothing of what target has sent is lost.
func Dial(ctx context.Context, via, self, target string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", via)
	if err != nil {
		return nil, fmt.Errorf("forwarder: %w", err)
	}
	if err := connect(ctx, conn, self, target); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial %s via %s: %w", target, via, err)
	}
	return conn, nil
}

// connect asks the forwarder at the other end of conn for target. It leaves no deadline set.
func connect(ctx context.Context, conn net.Conn, self, target string) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := request(conn, self, target)
	if !stop() {
		return ctx.Err()
	}
	return err
}

func request(conn net.Conn, self, target string) error {
	if strings.ContainsAny(self+target, " \r\n") {
		return fmt.Errorf("no name for a node or an address: %q, %q", self, target)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\nFrom: %s\r\n\r\n", target, self); err != nil {
		return err
	}
	line, header, err := readHead(conn)
	if err != nil {
		return err
	}
	proto, status, _ := strings.Cut(line, " ")
	reason := header.Get("Proxy-Status")
	switch {
	case !strings.HasPrefix(proto, "HTTP/1."):
		return fmt.Errorf("not a forwarder: it answers %q", line)
	case strings.HasPrefix(status, "200"):
		return nil
	case strings.Contains(reason, refused):
		return syscall.ECONNREFUSED
	}
	return fmt.Errorf("forwarder answers %s %s", status, reason)
}

// readHead reads a request or an answer up to its empty line and not a byte further: what
// follows belongs to the connection's user. That is why it reads byte by byte.
func readHead(conn net.Conn) (first string, header textproto.MIMEHeader, err error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) == maxHead {
			return "", nil, errors.New("head too long")
		}
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", nil, err
		}
		head = append(head, b[0])
	}
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(head)))
	if first, err = r.ReadLine(); err != nil {
		return "", nil, err
	}
	header, err = r.ReadMIMEHeader()
	return first, header, err
}

// readConnect reads a request, and returns who asks and for what address.
func readConnect(conn net.Conn) (self, target string, err error) {
	line, header, err := readHead(conn)
	if err != nil {
		return "", "", err
	}
	self = header.Get("From")
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "CONNECT" || !strings.HasPrefix(f[2], "HTTP/1.") || self == "" {
		return "", "", errors.New("want: CONNECT address HTTP/1.1, and From: name")
	}
	return self, f[1], nil
}

func answerOK(conn net.Conn) error {
	_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	return err
}

// answerError says why there will be no connection; conn is of no use then.
func answerError(conn net.Conn, status string, reason error) {
	kind := "destination_unavailable"
	if errors.Is(reason, syscall.ECONNREFUSED) {
		kind = refused
	}
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\nProxy-Status: netfault; error=%s; details=%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		status, kind, strconv.QuoteToASCII(reason.Error()))
}
