package crash

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is how many bytes a disk writes whole or not at all.
const sector = 512

// An entry is what has a name in a directory: a *dir or a *file. It is as it is now, for all who read it, and as it is
// on the disk.
type entry interface {
	// restart makes both the same: what is on the disk, and of the rest what keep says.
	restart(Keep, *rand.Rand)
}

type dir struct {
	now, disk map[string]entry
	// changes are those that are not flushed. In each, names have got an entry, or none if it is nil.
	changes []map[string]entry
}

func newDir() *dir { return &dir{now: map[string]entry{}, disk: map[string]entry{}} }

func (d *dir) change(c map[string]entry) {
	apply(d.now, c)
	d.changes = append(d.changes, c)
}

func apply(names, c map[string]entry) {
	maps.Copy(names, c)
	maps.DeleteFunc(names, func(_ string, e entry) bool { return e == nil })
}

func (d *dir) sync() {
	for _, c := range d.changes {
		apply(d.disk, c)
	}
	d.changes = nil
}

func (d *dir) restart(keep Keep, random *rand.Rand) {
	d.changes = slices.DeleteFunc(d.changes, func(map[string]entry) bool {
		return keep == Nothing || keep == Some && random.IntN(2) == 0
	})
	d.sync()
	d.now = maps.Clone(d.disk)
	for _, name := range slices.Sorted(maps.Keys(d.now)) {
		d.now[name].restart(keep, random)
	}
}

type file struct {
	now, disk image
	// before has, of each sector that is not flushed, what it was when it was, and since then, without what it is now.
	before [][][]byte
	// sizes are those since the last flush.
	sizes []int
}

// An image is what is in a file.
type image struct {
	size int
	// sectors never change, only others take their place. One that is nil is zeros, as is what lies beyond size.
	sectors [][]byte
}

var zeros = make([]byte, sector)

func (i *image) sector(s int) []byte {
	if s >= len(i.sectors) || i.sectors[s] == nil {
		return zeros
	}
	return i.sectors[s]
}

func (i *image) set(s int, b []byte) {
	if s >= len(i.sectors) {
		i.sectors = append(i.sectors, make([][]byte, s+1-len(i.sectors))...)
	}
	i.sectors[s] = b
}

// read fills p from at on, as far as there is something.
func (i *image) read(p []byte, at int) (n int) {
	p = p[:max(0, min(len(p), i.size-at))]
	for n < len(p) {
		n += copy(p[n:], i.sector((at + n) / sector)[(at+n)%sector:])
	}
	return n
}

func (f *file) write(p []byte, at int) {
	first := at / sector
	end := (at + len(p) + sector - 1) / sector
	fresh := make([]byte, 0, (end-first)*sector)
	for s := first; s < end; s++ {
		fresh = append(fresh, f.now.sector(s)...)
	}
	copy(fresh[at%sector:], p)
	for s := range slices.Chunk(fresh, sector) {
		f.set(first, s)
		first++
	}
	f.resize(max(f.now.size, at+len(p)))
}

func (f *file) truncate(size int) {
	for s := size / sector; s*sector < f.now.size; s++ {
		kept := max(0, size-s*sector)
		f.set(s, append(slices.Clone(f.now.sector(s)[:kept]), zeros[kept:]...))
	}
	f.resize(size)
}

// set changes a sector, and resize the size, until the next flush in memory alone.
func (f *file) set(s int, b []byte) {
	if s >= len(f.before) {
		f.before = append(f.before, make([][][]byte, s+1-len(f.before))...)
	}
	was := &f.now
	if f.before[s] == nil {
		was = &f.disk
	}
	f.before[s] = append(f.before[s], was.sector(s))
	f.now.set(s, b)
}

func (f *file) resize(size int) {
	if size != f.now.size {
		f.now.size = size
		f.sizes = append(f.sizes, size)
	}
}

func (f *file) sync() {
	f.disk.size = f.now.size
	for s, states := range f.before {
		if states != nil {
			f.disk.set(s, f.now.sector(s))
		}
	}
	f.clean()
}

// clean forgets what there is to flush.
func (f *file) clean() { f.before, f.sizes = nil, nil }

func (f *file) restart(keep Keep, random *rand.Rand) {
	switch keep {
	case All:
		f.sync()
	case Some:
		f.tear(random)
	}
	f.clean()
	f.now = image{f.disk.size, slices.Clone(f.disk.sectors)}
}

// tear brings to the disk what random picks.
func (f *file) tear(random *rand.Rand) {
	size := f.pickSize(random)
	for s, states := range f.before {
		if states != nil {
			states = append(states, f.now.sector(s))
			f.disk.set(s, states[random.IntN(len(states))])
		}
	}
	f.now = image{len(f.disk.sectors) * sector, f.disk.sectors}
	f.truncate(size)
	f.sync()
}

// pickSize returns a size that the file has had since it was flushed, or one on the way to it.
func (f *file) pickSize(random *rand.Rand) int {
	sizes := append(f.sizes, f.disk.size)
	size := sizes[random.IntN(len(sizes))]
	if smallest := slices.Min(sizes); size > smallest && random.IntN(2) == 0 {
		size = smallest + random.IntN(size-smallest)
	}
	return size
}
