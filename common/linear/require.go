package linear

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// checkTimeout is far more than the histories of tests take.
const checkTimeout = 20 * time.Second

// Require ends the test as failed unless h is linearizable; not to know is to fail.
// Of a violation it keeps the picture: in the test's artifact directory under
// go test -artifacts, otherwise in a new file under os.TempDir.
func Require(t testing.TB, h *History) {
	t.Helper()
	failUnlessLinearizable(t, h.Check(checkTimeout))
}

func failUnlessLinearizable(t testing.TB, r Result) {
	t.Helper()
	switch r.Verdict {
	case Linearizable:
	case Violation:
		t.Fatalf("not linearizable: %s (%d operations; picture: %s)", r.Reason, r.Ops, keepPicture(t, r))
	default:
		t.Fatalf("not known to be linearizable: %s (%d operations)", r.Reason, r.Ops)
	}
}

// keepPicture returns the path of r's picture, or why there is none.
func keepPicture(t testing.TB, r Result) string {
	f, err := createPicture(t)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if err := r.WritePicture(f); err != nil {
		return err.Error()
	}
	return f.Name()
}

func createPicture(t testing.TB) (*os.File, error) {
	// Without the flag, the artifact directory is gone when the test ends.
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
		return os.Create(filepath.Join(t.ArtifactDir(), "history.html"))
	}
	return os.CreateTemp("", "history-*.html")
}
