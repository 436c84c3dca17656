//! Evaluates the built-in JavaScript at build time: the eager part becomes a V8 startup snapshot, the rest code caches.
//!
//! A snapshot refers to native functions by their place in a list of external references. The list has the dispatcher of
//! all natives and the getter of lazy globals, so stand-ins of this script are enough to build it. That
//! is why a builtin must not call a native while it is being evaluated. The source texts follow in the list: copies of them
//! in the snapshot, and so in every isolate, were a tenth of what a pristine isolate costs.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use v8::{MapFnTo, script_compiler};

#[path = "src/v8_flags.rs"]
mod v8_flags;

macro_rules! ops {
    ($($name:ident => $function:path,)*) => {
        /// Names of the natives in the order of their indices.
        const OPS: &[&str] = &[$(stringify!($name)),*];
    };
}
include!("src/ops/table.in");

/// Source text by builtin name, as V8 reads it in place.
type Sources = BTreeMap<String, &'static v8::OneByteConst>;

/// What `src/page_pool.rs` and `src/mappings/` ask of the linker: V8's functions whose callers are led there.
const WRAPPED: &[&str] = &[
    "_ZN2v88internal10MemoryPool6RemoveEPNS0_7IsolateE",
    "_ZN2v84base2OS8AllocateEPvmmNS1_16MemoryPermissionENSt4__Cr8optionalINS_18SharedMemoryHandleEEE",
    "_ZN2v84base2OS4FreeEPvm",
    "_ZN2v84base2OS7ReleaseEPvm",
    "_ZN2v84base2OS14SetPermissionsEPvmNS1_16MemoryPermissionE",
    "_ZN2v84base2OS13DecommitPagesEPvm",
    "_ZN2v84base2OS29CreateAddressSpaceReservationEPvmmNS1_16MemoryPermissionENSt4__Cr8optionalINS_18SharedMemoryHandleEEE",
    "_ZN2v84base2OS27FreeAddressSpaceReservationENS0_23AddressSpaceReservationE",
    "_ZN2v84base23AddressSpaceReservation8AllocateEPvmNS0_2OS16MemoryPermissionE",
    "_ZN2v84base23AddressSpaceReservation4FreeEPvm",
    "_ZN2v84base23AddressSpaceReservation14SetPermissionsEPvmNS0_2OS16MemoryPermissionE",
    "_ZN2v84base19MemoryProtectionKey20SetPermissionsAndKeyENS0_13AddressRegionENS_15PagePermissionsEi",
];

fn main() {
    // The crates that link binaries with this one find the argument as metadata.
    let link_arg = WRAPPED.iter().fold("-Wl".to_owned(), |arg, name| arg + ",--wrap=" + name);
    println!("cargo::rustc-link-arg={link_arg}");
    println!("cargo::metadata=LINK_ARG={link_arg}");
    println!("cargo::rerun-if-changed=js");
    println!("cargo::rerun-if-changed=src/ops/table.in");
    println!("cargo::rerun-if-changed=src/v8_flags.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = read_sources(Path::new("js"));

    v8_flags::set();
    v8::V8::initialize_platform(v8::new_single_threaded_default_platform(false).make_shared());
    v8::V8::initialize();

    let (snapshot, eager) = build_snapshot(&sources);
    fs::write(out.join("snapshot.bin"), &*snapshot).expect("write the snapshot");
    let caches = build_caches(&sources, snapshot);
    write_table(&out, &sources, &eager, &caches);
}

fn read_sources(folder: &Path) -> Sources {
    let mut sources = Sources::new();
    for entry in fs::read_dir(folder).expect("read the folder of builtins") {
        let path = entry.expect("read a folder entry").path();
        if path.extension().is_some_and(|extension| extension == "js") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8 file name").to_owned();
            let text = fs::read_to_string(&path).expect("read a builtin");
            assert!(text.is_ascii(), "js/{name}.js must be ASCII: V8 reads it in place as a one-byte string");
            let text = v8::String::create_external_onebyte_const(text.leak().as_bytes());
            sources.insert(name, Box::leak(Box::new(text)));
        }
    }
    sources
}

/// What natives were called while [`warm_up`] runs; outside of it, none may be.
static WARMING: Mutex<Option<Vec<&str>>> = Mutex::new(None);

fn native_stand_in(
    scope: &mut v8::PinScope,
    args: v8::FunctionCallbackArguments,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let name = OPS[args.data().cast::<v8::Integer>().value() as usize];
    if name == "native" {
        let name = args.get(0).to_rust_string_lossy(scope);
        return result.set(native(scope, &name).into());
    }
    match WARMING.lock().expect("no panic holds it").as_mut() {
        Some(called) => called.push(name),
        None => panic!("a builtin called lethe.ops.{name} while it was being evaluated"),
    }
    match name {
        "utf8Encode" | "serialize" => {
            let buffer = v8::ArrayBuffer::new(scope, 0);
            result.set(v8::Uint8Array::new(scope, buffer, 0, 0).expect("make an array").into());
        }
        "urlParse" => {
            if let Ok(parts) = v8::Local::<v8::Object>::try_from(args.get(2)) {
                for (index, part) in (0..).zip(WARM_URL_PARTS) {
                    let part = v8::Integer::new_from_unsigned(scope, part).into();
                    parts.set_index(scope, index, part).expect("write an element");
                }
            }
            result.set(args.get(0));
        }
        "formParse" => result.set(v8::Array::new(scope, 0).into()),
        // A call that gave `undefined`.
        "actorCall" => result.set(v8::Object::new(scope).into()),
        _ => {}
    }
}

/// The function behind `lethe.ops.NAME`.
fn native<'s>(scope: &mut v8::PinScope<'s, '_>, name: &str) -> v8::Local<'s, v8::Function> {
    let index = OPS.iter().position(|known| *known == name).unwrap_or_else(|| panic!("there is no native {name}"));
    let index = v8::Integer::new(scope, index as i32).into();
    let function = v8::Function::builder(native_stand_in).data(index);
    function.constructor_behavior(v8::ConstructorBehavior::Throw).build(scope).expect("make a native")
}

fn getter_stand_in(
    scope: &mut v8::PinScope,
    key: v8::Local<v8::Name>,
    _: v8::PropertyCallbackArguments,
    _: v8::ReturnValue<v8::Value>,
) {
    panic!("a builtin touched the lazy global {} while it was being evaluated", key.to_rust_string_lossy(scope));
}

/// The native, the getter, the source texts by name.
fn external_references(sources: &Sources) -> Vec<v8::ExternalReference> {
    let mut list = vec![
        v8::ExternalReference { function: native_stand_in.map_fn_to() },
        v8::ExternalReference { pointer: getter_pointer() },
    ];
    let texts = sources.values().map(|text| std::ptr::from_ref(*text).cast_mut().cast());
    list.extend(texts.map(|pointer| v8::ExternalReference { pointer }));
    list.push(v8::ExternalReference { pointer: std::ptr::null_mut() });
    list
}

fn getter_pointer() -> *mut std::ffi::c_void {
    let getter: v8::AccessorNameGetterCallback = getter_stand_in.map_fn_to();
    getter as *mut std::ffi::c_void
}

/// Returns the snapshot and the names of the builtins evaluated in it.
fn build_snapshot(sources: &Sources) -> (v8::StartupData, Vec<String>) {
    let mut isolate = v8::Isolate::snapshot_creator(Some(external_references(sources).into()), None);
    let eager;
    {
        v8::scope!(let scope, &mut isolate);
        let context = v8::Context::new(scope, Default::default());
        let scope = &mut v8::ContextScope::new(scope, context);
        let lethe = make_lethe(scope, sources);
        install_globals(scope, lethe);
        let entry = call(scope, lethe, "use", &["entry"]);
        // What a request needs that calls an actor or looks at its URL: evaluating it from code caches and compiling its
        // methods took a fifth of such a request.
        for builtin in ["actors", "workers", "url", "url_search_params"] {
            call(scope, lethe, "use", &[builtin]);
        }
        eager = names(scope, lethe);
        warm_up(scope, lethe, entry);
        assert_eq!(names(scope, lethe), eager, "a hello request uses a builtin that is not eager");
        call(scope, lethe, "seal", &[]);
        scope.set_default_context(context);
        assert_eq!(scope.add_context_data(context, lethe), 0);
        assert_eq!(scope.add_context_data(context, entry), 1);
    }
    let blob = isolate.create_blob(v8::FunctionCodeHandling::Keep).expect("make the snapshot");
    (blob, eager)
}

/// Makes the object every builtin gets as its one parameter, with all builtins compiled but none evaluated.
fn make_lethe<'s>(scope: &mut v8::PinScope<'s, '_>, sources: &Sources) -> v8::Local<'s, v8::Object> {
    let lethe = v8::Object::new(scope);
    let ops = v8::Object::new(scope);
    let maker = native(scope, "native").into();
    set(scope, ops, "native", maker);
    set(scope, lethe, "ops", ops.into());
    let compiled = v8::Object::new(scope);
    for (name, text) in sources {
        let function = compile(scope, name, text);
        set(scope, compiled, name, function.into());
    }
    set(scope, lethe, "compiled", compiled.into());
    let loader = get(scope, compiled, "loader").cast::<v8::Function>();
    run(scope, "loader", loader, &[lethe.into()]);
    lethe
}

/// Reads `globals.js` and puts its names on the global object.
fn install_globals(scope: &mut v8::PinScope, lethe: v8::Local<v8::Object>) {
    let table = call(scope, lethe, "use", &["globals"]).cast::<v8::Object>();
    let global = scope.get_current_context().global(scope);
    for (kind, lazy) in [("eager", false), ("lazy", true)] {
        let builtins = get(scope, table, kind).cast::<v8::Object>();
        let keys = builtins.get_own_property_names(scope, Default::default()).expect("names of builtins");
        for i in 0..keys.length() {
            let builtin = keys.get_index(scope, i).expect("a builtin's name");
            let list = builtins.get(scope, builtin).expect("a builtin's globals").cast::<v8::Array>();
            let exports = (!lazy).then(|| {
                let name = builtin.to_rust_string_lossy(scope);
                call(scope, lethe, "use", &[name.as_str()]).cast::<v8::Object>()
            });
            for j in 0..list.length() {
                let name = list.get_index(scope, j).expect("a global's name");
                install_global(scope, global, name, builtin, exports);
            }
        }
    }
}

/// Interfaces are not enumerable, functions and attributes are, as WebIDL has it; the first letter tells them apart.
fn install_global<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<v8::Object>,
    name: v8::Local<'s, v8::Value>,
    builtin: v8::Local<'s, v8::Value>,
    exports: Option<v8::Local<v8::Object>>,
) {
    let key = name.cast::<v8::Name>();
    let text = name.to_rust_string_lossy(scope);
    let upper = text.starts_with(|first: char| first.is_ascii_uppercase());
    let attributes = if upper { v8::PropertyAttribute::DONT_ENUM } else { v8::PropertyAttribute::NONE };
    let done = match exports {
        Some(exports) => {
            let value = exports.get(scope, name).expect("an export");
            assert!(!value.is_undefined(), "globals.js: {text} is not exported by its builtin");
            global.define_own_property(scope, key, value, attributes)
        }
        None => global.set_lazy_data_property_with_data(
            scope,
            key,
            getter_stand_in,
            builtin,
            attributes,
            v8::SideEffectType::HasSideEffect,
            v8::SideEffectType::HasSideEffect,
        ),
    };
    assert_eq!(done, Some(true), "globals.js: cannot install {text}");
}

/// The URL of a warm-up's request, and where its parts are, as `url.js` has it.
const WARM_URL: &str = "http://host/?a=b";
const WARM_URL_PARTS: [u32; 8] = [4, 7, 7, 11, u32::MAX, 11, 12, u32::MAX];

/// A worker of the simplest kinds, whose requests compile what most requests need.
const WARM_WORKER: &str = r#"({
    default: {
        async fetch(request, env, ctx) {
            const init = { status: 200, headers: { "content-type": "text/plain" } };
            const url = new URL(request.url);
            const query = [...url.searchParams].length + (url.searchParams.get("a") === null ? 0 : 1);
            if (url.pathname !== "/" || url.search !== "?a=b" || url.host !== "host" || query !== 0) throw url;
            if (request.method === "GET") return new Response("hello", init);
            if (request.method === "PUT") return new Response(`${await env.ACTOR.getByName("a").add(1)}`, init);
            return Response.json({ found: request.headers.get("x-name") }, init);
        },
    },
})"#;

/// Runs requests through the builtins, so that the functions on their way are in the snapshot with their bytecode
/// instead of being compiled in every isolate. Natives do nothing meanwhile.
fn warm_up<'s>(scope: &mut v8::PinScope<'s, '_>, lethe: v8::Local<'s, v8::Object>, entry: v8::Local<'s, v8::Value>) {
    *WARMING.lock().expect("no panic holds it") = Some(Vec::new());
    let entry = entry.cast::<v8::Object>();
    let source = string(scope, WARM_WORKER);
    let exports = v8::Script::compile(scope, source, None).and_then(|script| script.run(scope)).expect("run a worker");
    let undefined = v8::undefined(scope).into();
    let pair = [string(scope, "ACTOR").into(), string(scope, "Actor").into()];
    let pair = v8::Array::new_with_elements(scope, &pair).into();
    let namespaces = v8::Array::new_with_elements(scope, &[pair]).into();
    let setup = get(scope, entry, "setup").cast::<v8::Function>();
    run(scope, "entry", setup, &[undefined, namespaces]);
    for method in ["GET", "POST", "PUT"] {
        let text = format!(r#"({{ method: "{method}", url: "{WARM_URL}", headers: [["x-name", "v"]], rid: null }})"#);
        let source = string(scope, &text);
        let request = v8::Script::compile(scope, source, None).and_then(|script| script.run(scope)).expect("a request");
        let invocation = v8::Integer::new(scope, 1).into();
        let fetch = get(scope, entry, "fetch").cast::<v8::Function>();
        run(scope, "entry", fetch, &[invocation, exports, undefined, request]);
        scope.perform_microtask_checkpoint();
    }
    // What loading `cloudflare:workers` does: its exports are read one by one, and one of them is a getter.
    let exports = call(scope, lethe, "use", &["workers"]).cast::<v8::Object>();
    get(scope, exports, "env");
    let nothing = v8::Array::new(scope, 0).into();
    run(scope, "entry", setup, &[undefined, nothing]);
    let called = WARMING.lock().expect("no panic holds it").take().unwrap_or_default();
    let replies = called.iter().filter(|name| **name == "replyResponse").count();
    assert!(replies == 3 && !called.contains(&"replyError"), "warming up failed, natives called: {called:?}");
}

fn names(scope: &mut v8::PinScope, lethe: v8::Local<v8::Object>) -> Vec<String> {
    let list = call(scope, lethe, "names", &[]).cast::<v8::Array>();
    (0..list.length()).map(|i| list.get_index(scope, i).expect("a name").to_rust_string_lossy(scope)).collect()
}

/// Compiles and evaluates every builtin once, so that its cache holds what evaluation needs.
fn build_caches(sources: &Sources, snapshot: v8::StartupData) -> BTreeMap<String, Vec<u8>> {
    let params =
        v8::CreateParams::default().snapshot_blob(snapshot).external_references(external_references(sources).into());
    let isolate = &mut v8::Isolate::new(params);
    v8::scope!(let scope, isolate);
    let context = v8::Context::new(scope, Default::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    let lethe = make_lethe(scope, sources);
    // V8 adds this global to a context that it makes from a snapshot; it is not in the snapshot.
    let global = context.global(scope);
    let wasm = get(scope, global, "WebAssembly");
    set(scope, lethe, "WebAssembly", wasm);
    let compiled = get(scope, lethe, "compiled").cast::<v8::Object>();
    let mut caches = BTreeMap::new();
    for name in sources.keys().filter(|name| *name != "loader") {
        call(scope, lethe, "use", &[name]);
        let function = get(scope, compiled, name).cast::<v8::Function>();
        let cache = function.create_code_cache().expect("make a code cache");
        caches.insert(name.clone(), cache.to_vec());
    }
    caches
}

fn write_table(out: &Path, sources: &Sources, eager: &[String], caches: &BTreeMap<String, Vec<u8>>) {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let (mut texts, mut table) = (String::from("[\n"), String::from("[\n"));
    for (index, name) in sources.keys().enumerate() {
        let source = Path::new(&root).join("js").join(format!("{name}.js"));
        texts += &format!("    v8::String::create_external_onebyte_const(include_bytes!({source:?})),\n");
        let Some(cache) = caches.get(name).filter(|_| !eager.contains(name)) else { continue };
        let file = out.join(format!("{name}.cache"));
        fs::write(&file, cache).expect("write a code cache");
        table += &format!(
            "    Builtin {{ name: {name:?}, origin: \"lethe:{name}\", source: &SOURCES[{index}], cache: include_bytes!({file:?}) }},\n"
        );
    }
    texts += "]";
    table += "]";
    fs::write(out.join("sources.rs"), texts).expect("write the table of sources");
    fs::write(out.join("builtins.rs"), table).expect("write the table of builtins");
    fs::write(out.join("eager.txt"), eager.join("\n")).expect("write the list of eager builtins");
}

fn compile<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    text: &'static v8::OneByteConst,
) -> v8::Local<'s, v8::Function> {
    v8::tc_scope!(scope, scope);
    let source = v8::String::new_from_onebyte_const(scope, text).expect("make a string");
    let resource = string(scope, &format!("lethe:{name}"));
    let origin = v8::ScriptOrigin::new(scope, resource.into(), 0, 0, false, 0, None, false, false, false, None);
    let mut source = script_compiler::Source::new(source, Some(&origin));
    let parameter = string(scope, "lethe");
    let function = script_compiler::compile_function(
        scope,
        &mut source,
        &[parameter],
        &[],
        script_compiler::CompileOptions::NoCompileOptions,
        script_compiler::NoCacheReason::NoReason,
    );
    match function {
        Some(function) => function,
        None => fail(scope, name),
    }
}

fn run<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    what: &str,
    function: v8::Local<v8::Function>,
    args: &[v8::Local<v8::Value>],
) -> v8::Local<'s, v8::Value> {
    v8::tc_scope!(scope, scope);
    let receiver = v8::undefined(scope).into();
    match function.call(scope, receiver, args) {
        Some(value) => value,
        None => fail(scope, what),
    }
}

fn fail(scope: &mut v8::PinnedRef<v8::TryCatch<v8::HandleScope>>, what: &str) -> ! {
    let text = match (scope.stack_trace(), scope.exception()) {
        (Some(stack), _) => stack.to_rust_string_lossy(scope),
        (None, Some(exception)) => exception.to_rust_string_lossy(scope),
        (None, None) => "no exception".to_owned(),
    };
    let line = scope.message().and_then(|message| message.get_line_number(scope)).unwrap_or(0);
    panic!("js/{what}.js:{line}: {text}");
}

fn call<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<v8::Object>,
    method: &str,
    args: &[&str],
) -> v8::Local<'s, v8::Value> {
    let function = get(scope, object, method).cast::<v8::Function>();
    let args: Vec<v8::Local<v8::Value>> = args.iter().map(|arg| string(scope, arg).into()).collect();
    run(scope, args.first().map(|arg| arg.to_rust_string_lossy(scope)).as_deref().unwrap_or(method), function, &args)
}

fn string<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> v8::Local<'s, v8::String> {
    v8::String::new(scope, text).expect("make a string")
}

fn get<'s>(scope: &mut v8::PinScope<'s, '_>, object: v8::Local<v8::Object>, key: &str) -> v8::Local<'s, v8::Value> {
    let key = string(scope, key);
    object.get(scope, key.into()).expect("read a property")
}

fn set(scope: &mut v8::PinScope, object: v8::Local<v8::Object>, key: &str, value: v8::Local<v8::Value>) {
    let key = string(scope, key);
    object.set(scope, key.into(), value).expect("write a property");
}
