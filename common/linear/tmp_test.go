package linear
import ("testing";"math/rand/v2";"time";"fmt")
func TestTmp(t *testing.T){
 for _,u:=range []float64{0,0.01,0.03,0.05,0.1,0.2}{
 for _,n:=range []int{200,1000}{
 var good,bad,mg,mb time.Duration; gen:=0; unk:=0
 for seed:=range uint64(20){
  g := generator{rand: rand.New(rand.NewPCG(seed, 2)), ops: n, wide: 30, unknown: u}
  d:=g.deeds(); h:=tell(d...)
  s:=time.Now(); r:=h.Check(3*time.Second); e:=time.Since(s); good+=e; mg=max(mg,e)
  if r.Verdict==Unknown{unk++}
  s=time.Now(); r=tell(g.spoil(d)...).Check(3*time.Second); e=time.Since(s); bad+=e; mb=max(mb,e)
  if r.Verdict==Unknown{unk++}
  if len(r.Reason)>0 { gen++ }
 }
 fmt.Println(u,n,"good",good/20,mg,"bad",bad/20,mb, "unknown",unk)
 }}
}
