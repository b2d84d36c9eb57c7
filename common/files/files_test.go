package files_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"raftworkbook/common/files"
	"raftworkbook/common/files/crash"
)

// TestMain is also the process that holds a lock: given one, it takes it and waits to be killed.
func TestMain(m *testing.M) {
	if name := os.Getenv("LOCK"); name != "" {
		_, err := files.OS{}.Lock(name)
		fmt.Println("lock:", err)
		bufio.NewReader(os.Stdin).ReadByte() // ends with the test
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestLock_names_the_process_that_holds_it_and_ends_with_that(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "LOCK="+name)
	stdin, err := holder.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "lock: <nil>\n", said)

	_, err = files.OS{}.Lock(name)
	require.EqualError(t, err, fmt.Sprintf("lock %s: it is held by process %d", name, holder.Process.Pid))

	require.NoError(t, holder.Process.Kill())
	holder.Wait()
	l, err := files.OS{}.Lock(name)
	require.NoError(t, err)
	_, err = files.OS{}.Lock(name)
	require.EqualError(t, err, fmt.Sprintf("lock %s: it is held by process %d", name, os.Getpid()))
	require.NoError(t, l.Close())
}

func TestSync_names_the_file_that_it_could_not_flush(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := files.OS{}.Create(name)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	err = f.Sync()
	require.Error(t, err)
	require.Contains(t, err.Error(), name)
}

// A test that trusts the disk in memory is worth something if that does what a real one does.
func TestDisk_in_memory_does_what_the_real_one_does(t *testing.T) {
	for seed := range uint64(5) {
		dir := t.TempDir()
		real := play(files.OS{}, dir+"/", rand.New(rand.NewPCG(seed, 1)))
		memory := play(crash.New(seed), "", rand.New(rand.NewPCG(seed, 1)))
		require.Empty(t, cmp.Diff(real, memory), "seed %d", seed)
	}
}

// play works on a few files and tells what came of it.
func play(sys files.System, root string, random *rand.Rand) (story []string) {
	pick := func(names ...string) string { return names[random.IntN(len(names))] }
	tell := func(what string, err error) {
		for _, known := range []error{fs.ErrNotExist, io.EOF} {
			if errors.Is(err, known) {
				err = known
			}
		}
		story = append(story, fmt.Sprintf("%s: %v", what, err))
	}
	for range 100 {
		dir := pick("d", "e")
		name, other := dir+"/"+pick("a", "b"), dir+"/"+pick("a", "b", "c")
		switch random.IntN(7) {
		case 0:
			tell("mkdir "+dir, sys.Mkdir(root+dir))
		case 1:
			tell("rename "+name+" "+other, sys.Rename(root+name, root+other))
		case 2:
			tell("remove "+name, sys.Remove(root+name))
		case 3:
			tell("syncdir "+dir, sys.SyncDir(root+dir))
		default:
			open := sys.Open
			if random.IntN(3) == 0 {
				open = sys.Create
			}
			f, err := open(root + name)
			if err != nil {
				tell("open "+name, err)
				continue
			}
			text, at := strings.Repeat(pick("x", "y"), random.IntN(2000)), random.Int64N(2000)
			size, cut, flush := random.Int64N(3000), random.IntN(2) == 0, random.IntN(10) == 0
			_, err = f.WriteAt([]byte(text), at)
			tell("write "+name, err)
			if cut {
				tell("truncate "+name, f.Truncate(size))
			}
			if flush {
				tell("sync "+name, f.Sync())
			}
			content := make([]byte, 5000)
			n, err := f.ReadAt(content, random.Int64N(1000))
			tell(fmt.Sprintf("read %s %q", name, content[:n]), err)
			tell("close "+name, f.Close())
		}
	}
	return story
}
