// Request, Response and Headers: construction, body use, errors.
export default {
  async fetch() {
    const r = new Response("hi", {headers: {a: "b"}, status: 201});
    console.log(r.status, r.ok, r.headers.get("content-type"), [...r.headers], await r.text(), r.bodyUsed);
    try { await r.text() } catch (e) { console.log(String(e)) }
    console.log(await Response.json({a:1}).json());
    console.log(Object.prototype.toString.call(r.headers.entries()), Object.keys(Response.prototype));
    for (const f of [()=>new Response("x",{status:204}),()=>new Response("",{status:600}),()=>new Headers([["a"]]),()=>new Headers({"a b":"c"}),()=>Response.redirect("/x"),()=>new Request("/x"),()=>new Request("http://u:p@x/"),()=>new Request("http://x/",{body:"a"})]) try { f(); console.log("no throw") } catch (e) { console.log(String(e)) }
    const q = new Request("http://x/a?b", {method:"post", body:"123"});
    console.log(q.method,q.url,await q.clone().text(), new Uint8Array(await q.arrayBuffer()).join());
    return new Response("done");
  },
};
