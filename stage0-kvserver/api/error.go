package api

import "fmt"

// The codes of errors. All of them are definite: nothing happened, and nothing will.
const (
	// BadRequest is a line that is not a request: no JSON, a field that is unknown, missing, doubled
	// or of the wrong type.
	BadRequest = "bad_request"
	// UnknownOp is a request for something that no server of this stage does.
	UnknownOp = "unknown_op"
	// TooLarge is a key, value or line beyond its limit. After such a line the connection is closed.
	TooLarge = "too_large"
	// Unavailable is a request that nobody can take now: too many clients, or shutting down.
	Unavailable = "unavailable"
)

// An Error is why a request was not carried out.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error says the code, then the words.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an error of a code and words for a person.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
