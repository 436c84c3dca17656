//! Hostile workers: each ends only its own isolate, with the name of the limit, and the process and its memory stay.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lethe_runtime::{
    engine::{Engine, InvocationError, Limit},
    program::Module,
};
use support::FakeHost;

/// CPU limit of the tests, short so that they are.
const CPU_MS: u64 = 1000;
/// CPU limit of what fills memory: that takes time, more so in a debug build and beside other programs.
const FILLING_CPU_MS: u64 = 60_000;
/// What a worker's answer may be waited for, on a busy machine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs `body` as the body of a fetch handler under tight limits.
async fn attack(engine: &Engine, body: &str) -> Result<String, InvocationError> {
    attack_within(engine, CPU_MS, body).await
}

async fn attack_within(engine: &Engine, cpu_ms: u64, body: &str) -> Result<String, InvocationError> {
    let script = format!("export default {{ async fetch(request) {{ {body} }} }};");
    let mut source = support::source(&script);
    source.limits.cpu_ms = cpu_ms;
    let program = support::compile(engine, source).await;
    let answer = support::fetch_text(engine, &program, Arc::new(FakeHost::default()));
    tokio::time::timeout(ANSWER_TIME_MAX, answer).await.expect("an answer in time")
}

async fn check_alive(engine: &Engine) {
    let answer = support::run(engine, "export default { fetch() { return new Response('alive'); } };").await;
    assert_eq!(answer.as_deref(), Ok("alive"));
}

async fn ends_with(engine: &Engine, limit: Limit, bodies: &[&str]) {
    for body in bodies {
        let started = Instant::now();
        let cpu_ms = if limit == Limit::Memory { FILLING_CPU_MS } else { CPU_MS };
        let answer = attack_within(engine, cpu_ms, body).await;
        assert_eq!(answer, Err(InvocationError::Limit(limit)), "after {:?}: {body}", started.elapsed());
        check_alive(engine).await;
    }
}

async fn answers(engine: &Engine, cases: &[(&str, &str)]) {
    for (body, expected) in cases {
        assert_eq!(attack(engine, body).await.as_deref(), Ok(*expected), "{body}");
    }
    check_alive(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_work_exceeds_cpu() {
    let engine = support::engine();
    let bodies = [
        "for (;;);",
        "while (true) await null;",
        "const again = () => { Promise.resolve().then(again); }; again(); await new Promise(() => {});",
        "/^(a+)+$/.test('a'.repeat(50) + '!');",
        "JSON.stringify({ toJSON() { for (;;); } });",
        "for (;;) { try { for (;;); } catch {} finally { continue; } }",
        "new Array(2 ** 32 - 1).sort(() => { for (;;); });",
        "structuredClone({ get x() { for (;;); } });",
        "throw { get name() { for (;;); }, get message() { for (;;); } };",
        "let n = 1n; for (;;) n = n * 3n ** 100000n;",
    ];
    ends_with(&engine, Limit::Cpu, &bodies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hoarding_exceeds_memory() {
    let engine = support::engine();
    let bodies = [
        "const hoard = []; for (;;) hoard.push({ a: hoard.length });",
        "const hoard = []; for (;;) hoard.push(new Array(1000).fill(hoard.length));",
        "const a = []; a.length = 2 ** 25; a.fill({}); for (;;) a.push(a.slice());",
        "let s = 'x'; for (;;) { s += s; s.charCodeAt(s.length - 1) || s.at(-1); globalThis[s.length] = s.split('').length; }",
        "const hoard = []; for (;;) hoard.push(new Map([[hoard.length, 'x'.repeat(100) + hoard.length]]));",
        "const all = []; for (let i = 0; ; i++) all.push(new Promise(() => {}));",
        "const all = []; for (;;) all.push(() => all.length);",
    ];
    ends_with(&engine, Limit::Memory, &bodies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webassembly_memories_count() {
    let engine = support::engine();
    let caught = |code: &str| {
        format!(
            "const hoard = []; try {{ for (let i = 0; i < 1000; i++) {{ {code} }} }} catch (e) {{ \
             return new Response(`${{e.name}} after ${{hoard.length}}`); }} return new Response('no error');"
        )
    };
    let cases = [
        ("hoard.push(new WebAssembly.Memory({ initial: 100 }));", "RangeError after 20"),
        ("hoard.push(new WebAssembly.Memory({ initial: 0 }));", "RangeError after 256"),
        (
            "hoard[0] ??= new WebAssembly.Memory({ initial: 1 }); hoard[0].grow(100); hoard.push(1);",
            "RangeError after 21",
        ),
        ("hoard.push([new Uint8Array(6553600), new WebAssembly.Memory({ initial: 100 })]);", "RangeError after 10"),
    ];
    for (code, expected) in cases {
        assert_eq!(attack(&engine, &caught(code)).await.as_deref(), Ok(expected), "{code}");
    }
    check_alive(&engine).await;
}

/// A module that grows a memory nobody else sees and touches all of it, for ever:
/// `(memory 1) (func (export "run") loop (drop (memory.grow (i32.const 16))) (memory.fill ...whole memory...) br 0 end)`
const HIDDEN_GROWTH: &[u8] = &[
    0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 7, 1, 3, 114, 117, 110, 0, 0, 10,
    26, 1, 24, 0, 0x03, 0x40, 0x41, 16, 0x40, 0, 0x1a, 0x41, 0, 0x41, 1, 0x3f, 0, 0x41, 16, 0x74, 0xfc, 11, 0, 0x0c, 0,
    0x0b, 0x0b,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webassembly_memory_that_only_its_module_sees_is_ended() {
    let engine = support::engine();
    let script = "import grow from './grow.wasm'; export default { async fetch() { \
                  const all = []; for (;;) { const { exports } = await WebAssembly.instantiate(grow); exports.run(); } } };";
    let modules = [("index.js", Module::Es(script.into())), ("grow.wasm", Module::Wasm(HIDDEN_GROWTH.into()))];
    let mut source = support::source_of(modules);
    source.limits.memory_mb = 32;
    source.limits.cpu_ms = 20_000;
    let program = support::compile(&engine, source).await;
    let answer = support::fetch_text(&engine, &program, Arc::default()).await;
    assert_eq!(answer, Err(InvocationError::Limit(Limit::Memory)));
    check_alive(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_too_much_at_once_are_range_errors() {
    let engine = support::engine();
    let cases = [
        ("new ArrayBuffer(2 ** 33)", "RangeError"),
        ("new Uint8Array(200 * 1024 * 1024)", "RangeError"),
        ("new Float64Array(2 ** 30)", "RangeError"),
        ("'x'.repeat(2 ** 30)", "RangeError"),
        ("'x'.padEnd(2 ** 30)", "RangeError"),
        ("new Array(-1)", "RangeError"),
        ("(function f() { f(); })()", "RangeError"),
        ("new Proxy({}, { get: (t, k, r) => r[k] }).x", "RangeError"),
        ("JSON.parse('['.repeat(5000000))", "SyntaxError"),
        ("let x = []; for (let i = 0; i < 1e6; i++) x = [x]; structuredClone(x)", "RangeError"),
        ("const o = () => ({ get x() { return o(); } }); structuredClone(o())", "RangeError"),
        ("for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 1e6)", "RangeError"),
        ("const b = []; for (;;) b.push(new ArrayBuffer(24 * 1024 * 1024))", "RangeError"),
    ];
    for (code, name) in cases {
        let body =
            format!("try {{ {code}; }} catch (e) {{ return new Response(e.name); }} return new Response('no error');");
        assert_eq!(attack_within(&engine, FILLING_CPU_MS, &body).await.as_deref(), Ok(name), "{code}");
    }
    check_alive(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_huge_objects_do_not_end_the_process() {
    let engine = support::engine();
    let bodies = [
        "const s = 'x'.repeat(2 ** 29 - 30); return new Response(String(/y/.test(s)));",
        "const s = 'x'.repeat(2 ** 28); return new Response(String((s + 'y').indexOf('y')));",
        "const s = 'x'.repeat(2 ** 28); return new Response(String(Object.keys({ [s]: 1 }).length));",
        "return new Response(String(new Array(2 ** 25 - 1).fill(0).length));",
        "return new Response(String(new Array(2 ** 26).fill(0).length));",
        "return new Response(String('ab'.repeat(2 ** 26).split('').length));",
        "return new Response(String(JSON.stringify('\\u0000'.repeat(2 ** 26)).length));",
        "return new Response(String('x'.repeat(2 ** 24).replaceAll('x', 'yy').length));",
        "return new Response(String(Array.from('x'.repeat(2 ** 27)).length));",
        "return new Response(String((1n << 2n ** 25n).toString().length));",
        "return new Response(String(new Array(2 ** 24).fill('abcdefgh').join('-').length));",
        "return new Response(encodeURIComponent('\\u0800'.repeat(2 ** 26)).length + '');",
        "return new Response(String(new Set(new Array(2 ** 24 - 1).keys()).size));",
    ];
    for body in bodies {
        let answer = attack(&engine, body).await;
        let fine = match &answer {
            Ok(_) => true,
            Err(InvocationError::Exception(error)) => error.name == "RangeError",
            Err(InvocationError::Limit(limit)) => matches!(limit, Limit::Memory | Limit::Cpu),
            Err(_) => false,
        };
        assert!(fine, "{body}: {answer:?}");
        check_alive(&engine).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_large_but_allowed_works() {
    let engine = support::engine();
    let cases = [
        ("return new Response(String(new Uint8Array(64 * 1024 * 1024).fill(1).length));", "67108864"),
        (
            "let n = 0; for (let i = 0; i < 100; i++) n += new Uint8Array(32 * 1024 * 1024).length; return new Response(`${n}`);",
            "3355443200",
        ),
        ("for (let i = 0; i < 3e6; i++) ({ i }); return new Response('collected');", "collected"),
    ];
    answers(&engine, &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_from_strings_and_bytes_and_shared_memory_are_refused() {
    let engine = support::engine();
    let refused = |code: &str| {
        format!("try {{ {code}; return new Response('ran'); }} catch (e) {{ return new Response(e.name); }}")
    };
    let module = "new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])";
    let cases = [
        ("eval('1')".to_owned(), "EvalError"),
        ("new Function('return 1')()".to_owned(), "EvalError"),
        ("(async () => {}).constructor('return 1')()".to_owned(), "EvalError"),
        (format!("new WebAssembly.Module({module})"), "CompileError"),
        (format!("await WebAssembly.compile({module})"), "CompileError"),
        (format!("await WebAssembly.instantiate({module})"), "CompileError"),
    ];
    for (code, name) in cases {
        assert_eq!(attack(&engine, &refused(&code)).await.as_deref(), Ok(name), "{code}");
    }
    let shared = "return new Response([typeof SharedArrayBuffer, \
                  (() => { try { new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true }) } catch (e) { return e.name } })()].join());";
    assert_eq!(attack(&engine, shared).await.as_deref(), Ok("undefined,TypeError"));
    let start_up = "const two = eval('1 + 1'); export default { fetch: () => new Response(String(two)) };";
    assert_eq!(support::run(&engine, start_up).await.as_deref(), Ok("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_output_is_bounded() {
    let engine = support::engine();
    let script = "export default { fetch() { \
                  for (let i = 0; i < 10000; i++) console.log('x'.repeat(1024)); return new Response('done'); } };";
    let program = support::compile(&engine, support::source(script)).await;
    let host = Arc::new(FakeHost::default());
    assert_eq!(support::fetch_text(&engine, &program, host.clone()).await.as_deref(), Ok("done"));
    let lines = host.printed();
    let bytes: usize = lines.iter().map(String::len).sum();
    assert!(bytes < 300 * 1024, "{bytes} bytes were printed");
    assert_eq!(lines.last().unwrap(), "warn: console output is limited to 262144 bytes; the rest is dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_code_that_does_not_stop_holds_up_nobody() {
    use lethe_runtime::engine::Config;
    let engine = Engine::start(Config { threads_max: 2, pristine: 1, ..Config::default() });
    // V8 shifts an object that only claims to be long without looking for interrupts. These are more such
    // turns than there are threads; each ends by itself some time after it was given up.
    let body = "return new Response(String([].shift.call({ length: 2e8 })));";
    let turns: Vec<_> = (0..3).map(|_| attack_within(&engine, 100, body)).collect();
    let answers = futures::future::join_all(turns).await;
    assert_eq!(answers, vec![Err(InvocationError::Limit(Limit::Cpu)); 3]);
    check_alive(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_on_their_way_out_are_bounded() {
    let engine = support::engine();
    let body = "const body = new Uint8Array(10 * 1024 * 1024); let sent = 0; \
                try { for (;;) { const f = fetch('http://never/', { method: 'POST', body }); \
                      await Promise.race([f, null]); sent++; } } \
                catch (e) { return new Response(String(sent <= 13)); }";
    assert_eq!(attack(&engine, body).await.as_deref(), Ok("true"));
    check_alive(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wall_time_ends_a_worker_that_only_waits() {
    let engine = support::engine();
    for body in ["await new Promise((done) => setTimeout(done, 1e6));", "for (;;);"] {
        let mut source = support::source(&format!("export default {{ async fetch() {{ {body} }} }};"));
        source.limits.wall_ms = Some(100);
        let program = support::compile(&engine, source).await;
        let answer = support::fetch_text(&engine, &program, Arc::default()).await;
        assert_eq!(answer, Err(InvocationError::Limit(Limit::Wall)), "{body}");
    }
    check_alive(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_top_level_code_is_a_compile_error() {
    let engine = support::engine();
    let mut source = support::source("for (;;); export default {};");
    source.limits.cpu_ms = 200;
    let error = engine.compile(source).await.err().expect("a compile error");
    assert_eq!(error.to_string(), "the worker's top level exceeded CPU");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_nothing_can_settle_is_an_error_at_once() {
    let engine = support::engine();
    let answer = attack(&engine, "await new Promise(() => {});").await;
    let Err(InvocationError::Exception(error)) = answer else { panic!("{answer:?}") };
    assert!(error.message.contains("can never settle"), "{}", error.message);
}
