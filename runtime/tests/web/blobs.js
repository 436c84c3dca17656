// Blob, File, FormData and bodies made of them.
export default {
  async fetch() {
    const b = new Blob(["a", new Uint8Array([98]), new Blob(["c"])], { type: "Text/Plain" });
    console.log(
      b.size,
      b.type,
      await b.text(),
      await b.slice(1, -1).text(),
      b instanceof Blob,
      Object.prototype.toString.call(b),
    );
    const f = new File(["xyz"], "n.txt", { type: "a/b", lastModified: 5 });
    console.log(f.name, f.lastModified, f.size, f instanceof Blob);
    const fd = new FormData();
    fd.append("a", "1");
    fd.append("b", f);
    fd.set("a", "2\n");
    fd.append('q"', new Blob(["zz"]), "fn");
    const r = new Response(fd);
    console.log(r.headers.get("content-type").replace(/form-.*/, "form"));
    const fd2 = await r.formData();
    for (const [k, v] of fd2)
      console.log(
        JSON.stringify(k),
        typeof v === "string" ? JSON.stringify(v) : [v.name, v.type, await v.text()].join("|"),
      );
    console.log(
      await (
        await new Response("a=1&b=%20x", {
          headers: { "content-type": "application/x-www-form-urlencoded" },
        }).formData()
      ).get("b"),
    );
    try {
      await new Response("x").formData();
    } catch (e) {
      console.log(String(e));
    }
    console.log(
      (await new Response("x", { headers: { "content-type": "Text/HTML; charset=utf-8" } }).blob()).type,
      new Response(b).headers.get("content-type"),
    );
    const rd = b.stream().getReader();
    console.log((await rd.read()).value.join(), (await rd.read()).done);
    console.log(b, f);
    const large = new Blob([new Uint8Array(2 ** 25)]);
    for (const bad of [
      () => new Blob([large, large, large, large, "x"]),
      () => new Blob([new ArrayBuffer(1, { maxByteLength: 2 })]),
      () => new Blob("text"),
      () => new Blob([], { endings: "x" }),
      () => new File(["a"]),
    ]) {
      try {
        bad();
      } catch (error) {
        console.log(String(error));
      }
    }
    console.log(
      new Blob(["a\r\nb\rc\n"], { endings: "native" }).size,
      new Blob([1, null]).size,
      new Blob([], { type: "a\u0080" }).type === "",
    );
    const byHand = new Response('--x\nContent-Disposition: form-data; name="a"\n\nby hand\n--x--', {
      headers: { "content-type": "multipart/form-data; boundary=x" },
    });
    console.log((await byHand.formData()).get("a"));
    return new Response("done");
  },
};
