package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrLineTooLong is returned for a line beyond the limit. What follows on the stream cannot be
// told apart from the rest of that line.
var ErrLineTooLong = errors.New("line too long")

// A LineReader cuts a stream into lines. TCP is a stream of bytes: a line may come in any number of
// pieces, and a piece may hold any number of lines. It keeps 4 KiB a connection, and more only while a
// longer line comes in.
type LineReader struct {
	r *bufio.Reader
	// Limit is how many bytes a line may have, its newline included: MaxLine unless set.
	Limit int
}

// NewLineReader reads lines from r.
func NewLineReader(r io.Reader) *LineReader { return &LineReader{bufio.NewReader(r), MaxLine} }

// Wait blocks until at least one byte of the next line is there.
func (l *LineReader) Wait() error {
	_, err := l.r.Peek(1)
	return err
}

// Ready reports whether Next will return a line without reading from the stream.
func (l *LineReader) Ready() bool {
	buffered, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(buffered, '\n') >= 0
}

// Next returns the next line without its newline, valid until the next call. At the end of the stream it
// returns io.EOF, and io.ErrUnexpectedEOF if that comes in the midst of a line.
func (l *LineReader) Next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		line, err = l.long(line)
	}
	switch {
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

// long reads on when the line that begins with head does not fit the buffer.
func (l *LineReader) long(head []byte) ([]byte, error) {
	line := bytes.Clone(head)
	for {
		piece, err := l.r.ReadSlice('\n')
		if len(line)+len(piece) > l.Limit {
			return nil, ErrLineTooLong
		}
		line = append(line, piece...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}
