// Streams: tee, pipe, transform, byte reads, bodies as streams.
export default {
  async fetch() {
    const s = new ReadableStream({start(c){c.enqueue(1);c.enqueue(2);c.close()}});
    const [a,b]=s.tee(); const out=[]; for await (const x of a) out.push(x); for await (const x of b) out.push(x); console.log(out.join());
    const t = new TransformStream({transform(x,c){c.enqueue(x*2)},flush(c){c.enqueue("end")}});
    const res=[]; await ReadableStream.from([1,2,3]).pipeThrough(t).pipeTo(new WritableStream({write(x){res.push(x)},close(){res.push("closed")}})); console.log(res.join());
    console.log(await new Response(ReadableStream.from([new Uint8Array([104,105])])).text());
    const r = new Response("hello"); const rd = r.body.getReader({mode:"byob"}); let v=await rd.read(new Uint8Array(3)); console.log(v.value.join(),v.done); v=await rd.read(new Uint8Array(3)); console.log(v.value.join(),v.done); v=await rd.read(new Uint8Array(3)); console.log(v.value.length,v.done);
    const q = new Response("clone me"); q.body; const c=q.clone(); console.log(await q.text(), await c.text());
    const bs = new ReadableStream({type:"bytes",pull(c){c.enqueue(new Uint8Array([1,2,3]));c.close()}}); const [x,y]=bs.tee(); console.log((await new Response(x).bytes()).join(), (await new Response(y).bytes()).join());
    const up = new Response("abc"); const st=up.body; const r2=new Response(st); console.log(await r2.text(), st.locked, up.bodyUsed);
    return new Response("done");
  },
};
