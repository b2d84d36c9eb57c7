package linear
import ("testing";"math/rand/v2";"time";"fmt";"sync";"slices")
func TestTmp(t *testing.T){
 for _,w:=range [][]Kind{{Get,Put},{Get,Put,CAS},{Get,Append},{Get,Put,Append},{Get,Put,Delete},nil} {
 var ds []time.Duration; unk:=0
 for range 12 {
	h := NewHistory()
	s := &store{keys: make(map[string]register)}
	var all sync.WaitGroup
	for client := range 64 {
		all.Go(func() {
			g := generator{rand: rand.New(rand.NewPCG(uint64(client), 3)),kinds:w}
			for i := range 300 {
				op := g.op(register{})
				op.Client = client
				op.Key = fmt.Sprint("k", g.rand.IntN(8))
				op.Value = fmt.Sprintf("<%d.%d>", client, i)
				c := h.Begin(op)
				c.Return(s.do(op))
			}
		})
	}
	all.Wait()
	st:=time.Now(); r:=h.Check(2*time.Second); ds=append(ds,time.Since(st)); if r.Verdict!=Linearizable{unk++}
 }
 slices.Sort(ds)
 fmt.Println(w,"unknown",unk,ds[0],ds[6],ds[11])
 }
}
