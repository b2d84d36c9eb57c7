package kv

import "iter"

// A table is a map that can be frozen: it stays as it is for one reader, and goes on for all others. That takes no copy.
// What is written meanwhile stands aside, and is put in its place when the reader is done.
type table struct {
	values map[string]string
	aside  map[string]*string // while it is frozen: what was written since; nil for what was deleted
	len    int
}

func newTable() table { return table{values: map[string]string{}} }

func (t *table) get(key string) (value string, ok bool) {
	if v, written := t.aside[key]; written {
		if v == nil {
			return "", false
		}
		return *v, true
	}
	value, ok = t.values[key]
	return value, ok
}

func (t *table) set(key, value string) {
	if _, ok := t.get(key); !ok {
		t.len++
	}
	if t.aside != nil {
		t.aside[key] = &value
	} else {
		t.values[key] = value
	}
}

func (t *table) delete(key string) {
	if _, ok := t.get(key); ok {
		t.len--
	}
	if t.aside != nil {
		t.aside[key] = nil
	} else {
		delete(t.values, key)
	}
}

// keys are all there are, in no order.
func (t *table) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for key := range t.values {
			if _, written := t.aside[key]; !written && !yield(key) {
				return
			}
		}
		for key, value := range t.aside {
			if value != nil && !yield(key) {
				return
			}
		}
	}
}

// freeze returns the map as it is. It does not change until thaw.
func (t *table) freeze() map[string]string {
	t.aside = map[string]*string{}
	return t.values
}

func (t *table) thaw() {
	for key, value := range t.aside {
		if value == nil {
			delete(t.values, key)
		} else {
			t.values[key] = *value
		}
	}
	t.aside = nil
}
