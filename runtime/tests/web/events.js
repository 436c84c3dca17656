// DOMException, events and abort signals.
export default {
  async fetch() {
    const e = new DOMException("msg","AbortError");
    console.log(e.name,e.message,e.code,e instanceof Error,String(e),e.stack.split("\n")[0],Object.prototype.toString.call(e),DOMException.ABORT_ERR, Object.keys(e), Object.getOwnPropertyNames(e));
    class Sub extends DOMException {}; console.log(new Sub("a") instanceof Sub, Object.getPrototypeOf(DOMException)===Function.prototype);
    const t = new EventTarget(); const log=[];
    t.addEventListener("x", (e)=>log.push(["a",e.type,e.target===t,e.eventPhase,e.isTrusted]),{once:true});
    t.addEventListener("x", {handleEvent(e){log.push(["b",this!==undefined]); e.preventDefault()}});
    console.log(t.dispatchEvent(new Event("x",{cancelable:true})), t.dispatchEvent(new Event("x")), JSON.stringify(log));
    const c = new AbortController(); const any = AbortSignal.any([c.signal]); any.onabort=(e)=>console.log("any", e.isTrusted, any.reason.name);
    c.signal.addEventListener("abort",()=>console.log("src",any.aborted)); c.abort();
    console.log(new CustomEvent("a",{detail:3}).detail, c.signal.aborted);
    try{ new AbortSignal() }catch(e){console.log(String(e))}
    const q = new Request("http://x",{signal:c.signal}); console.log(q.signal.aborted, q.signal!==c.signal);
    try { await fetch(q) } catch(e) { console.log(e.name) }
    return new Response("done");
  },
};
