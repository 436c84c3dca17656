//! Loading a program's modules into an isolate: resolving, compiling from the code cache, evaluating.

use std::{collections::HashMap, sync::Arc};

use crate::{
    js::{self, Class},
    memory,
    program::{Code, Program},
    script::Script,
    state,
};

/// The module every worker can import.
const WORKERS: &str = "cloudflare:workers";

/// Modules of one isolate.
#[derive(Default)]
pub(crate) struct Modules {
    by_path: HashMap<String, v8::Global<v8::Module>>,
    /// Path of each script, to resolve its imports.
    paths: HashMap<i32, String>,
    /// Synthetic modules and the path or name each stands for.
    synthetic: Vec<(v8::Global<v8::Module>, String)>,
}

/// Loads and evaluates the program's entry module; an exception is left pending in `scope`.
pub(crate) fn load<'s>(scope: &mut v8::PinScope<'s, '_>, main: &str) -> Option<v8::Local<'s, v8::Object>> {
    let module = module(scope, main, "the configuration")?;
    evaluate(scope, module)?;
    Some(module.get_module_namespace().cast())
}

/// Compiles the ES modules that nothing imported yet.
pub(crate) fn compile_rest(scope: &mut v8::PinScope, program: &Program) -> Option<()> {
    for (path, code) in &program.modules {
        if matches!(code, Code::Es(_)) {
            module(scope, path, "the program")?;
        }
    }
    Some(())
}

/// Keeps V8's code cache of every ES module that is loaded, with all functions that were compiled by now.
pub(crate) fn keep_caches(scope: &mut v8::PinScope, program: &Program) {
    for (path, code) in &program.modules {
        let Code::Es(script) = code else { continue };
        let Some(module) = state::get(scope).modules.by_path.get(path).cloned() else { continue };
        let module = v8::Local::new(scope, module);
        // V8 has no script of a module whose evaluation failed.
        if module.get_status() != v8::ModuleStatus::Errored
            && let Some(cache) = module.get_unbound_module_script(scope).create_code_cache()
        {
            script.set_cache(&cache);
        }
    }
}

/// Instantiates and evaluates a module. Top-level `await` must settle without I/O, as in Workers.
fn evaluate<'s>(scope: &mut v8::PinScope<'s, '_>, module: v8::Local<'s, v8::Module>) -> Option<()> {
    module.instantiate_module(scope, resolve)?;
    let promise = module.evaluate(scope)?.cast::<v8::Promise>();
    if promise.state() == v8::PromiseState::Pending {
        scope.perform_microtask_checkpoint();
    }
    match promise.state() {
        v8::PromiseState::Fulfilled => Some(()),
        v8::PromiseState::Rejected => {
            promise.mark_as_handled();
            let error = promise.result(scope);
            scope.throw_exception(error);
            None
        }
        v8::PromiseState::Pending => {
            js::throw(scope, Class::Error, "a top-level await did not settle; I/O and timers need a request");
            None
        }
    }
}

/// The module of that path, compiled if it is not yet.
fn module<'s>(scope: &mut v8::PinScope<'s, '_>, path: &str, importer: &str) -> Option<v8::Local<'s, v8::Module>> {
    if let Some(module) = state::get(scope).modules.by_path.get(path).cloned() {
        return Some(v8::Local::new(scope, module));
    }
    let program = state::get(scope).program.clone()?;
    let module = match program.modules.get(path) {
        Some(Code::Es(script)) => compile(scope, path, script)?,
        Some(_) => synthetic(scope, path, &["default"])?,
        None if path == WORKERS => workers(scope)?,
        None => {
            js::throw(scope, Class::Error, &format!("No such module \"{path}\", imported by {importer}"));
            return None;
        }
    };
    let global = v8::Global::new(scope, module);
    state::get(scope).modules.by_path.insert(path.to_owned(), global);
    Some(module)
}

fn compile<'s>(scope: &mut v8::PinScope<'s, '_>, path: &str, script: &Script) -> Option<v8::Local<'s, v8::Module>> {
    use v8::script_compiler::{CachedData, CompileOptions, NoCacheReason, Source, compile_module2};
    let cache = script.cache();
    let Some(text) = script.text(scope) else {
        js::throw(scope, Class::RangeError, &format!("{path} is too large"));
        return None;
    };
    let name = js::string(scope, path);
    let origin = v8::ScriptOrigin::new(scope, name.into(), 0, 0, false, 0, None, false, false, true, None);
    let (mut source, options) = match &cache {
        Some(cache) => (
            Source::new_with_cached_data(text, Some(&origin), CachedData::new(cache)),
            CompileOptions::ConsumeCodeCache,
        ),
        None => (Source::new(text, Some(&origin)), CompileOptions::NoCompileOptions),
    };
    let module = compile_module2(scope, &mut source, options, NoCacheReason::NoReason)?;
    if source.get_cached_data().is_some_and(CachedData::rejected) {
        tracing::warn!(path, "V8 refused a code cache");
        debug_assert!(false, "V8 refused the code cache of {path}");
    }
    if let Some(script) = module.script_id() {
        state::get(scope).modules.paths.insert(script, path.to_owned());
    }
    Some(module)
}

fn synthetic<'s>(scope: &mut v8::PinScope<'s, '_>, path: &str, exports: &[&str]) -> Option<v8::Local<'s, v8::Module>> {
    let name = js::string(scope, path);
    let exports: Vec<_> = exports.iter().map(|export| js::string(scope, export)).collect();
    let module = v8::Module::create_synthetic_module(scope, name, &exports, fill_synthetic);
    let global = v8::Global::new(scope, module);
    state::get(scope).modules.synthetic.push((global, path.to_owned()));
    Some(module)
}

fn workers<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Module>> {
    let exports = use_builtin(scope, "workers")?;
    let names = exports.get_own_property_names(scope, Default::default())?;
    let names: Vec<String> = (0..names.length())
        .filter_map(|i| names.get_index(scope, i))
        .map(|name| name.to_rust_string_lossy(scope))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    synthetic(scope, WORKERS, &names)
}

/// Exports of a builtin.
pub(crate) fn use_builtin<'s>(scope: &mut v8::PinScope<'s, '_>, name: &str) -> Option<v8::Local<'s, v8::Object>> {
    let lethe = state::local(scope, |state| &state.lethe);
    let function = js::get(scope, lethe, "use")?.cast::<v8::Function>();
    let name = js::string(scope, name).into();
    function.call(scope, lethe.into(), &[name])?.to_object(scope)
}

/// V8 calls this when a synthetic module is evaluated.
fn fill_synthetic<'s>(
    context: v8::Local<'s, v8::Context>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    // SAFETY: V8 calls this with the current context.
    v8::callback_scope!(unsafe scope, context);
    let path = {
        let synthetic = state::get(scope).modules.synthetic.clone();
        synthetic.into_iter().find(|(global, _)| *global == module)?.1
    };
    if path == WORKERS {
        let exports = use_builtin(scope, "workers")?;
        let names = exports.get_own_property_names(scope, Default::default())?;
        for i in 0..names.length() {
            let name = names.get_index(scope, i)?.cast::<v8::String>();
            let value = exports.get(scope, name.into())?;
            module.set_synthetic_module_export(scope, name, value)?;
        }
    } else {
        let value = default_export(scope, &path)?;
        let name = js::string(scope, "default");
        module.set_synthetic_module_export(scope, name, value)?;
    }
    resolved(scope)
}

fn resolved<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Value>> {
    let resolver = v8::PromiseResolver::new(scope)?;
    let undefined = v8::undefined(scope).into();
    resolver.resolve(scope, undefined);
    Some(resolver.get_promise(scope).into())
}

fn default_export<'s>(scope: &mut v8::PinScope<'s, '_>, path: &str) -> Option<v8::Local<'s, v8::Value>> {
    let program: Arc<Program> = state::get(scope).program.clone()?;
    match program.modules.get(path)? {
        Code::Es(_) => None,
        Code::Text(text) => Some(js::string(scope, text).into()),
        Code::Json(text) => {
            let text = js::string(scope, text);
            v8::json::parse(scope, text)
        }
        Code::Data(bytes) => match memory::array_buffer(scope, bytes) {
            Some(buffer) => Some(buffer.into()),
            None => {
                js::throw(scope, Class::RangeError, &format!("{path} does not fit into the worker's memory"));
                None
            }
        },
        Code::Wasm { bytes, compiled } => match compiled.get() {
            Some(compiled) => v8::WasmModuleObject::from_compiled_module(scope, compiled).map(Into::into),
            None => {
                state::get(scope).wasm_allowed = true;
                let module = v8::WasmModuleObject::compile(scope, bytes);
                state::get(scope).wasm_allowed = false;
                let module = module?;
                let _ = compiled.set(module.get_compiled_module());
                Some(module.into())
            }
        },
    }
}

/// V8 calls this for each static import.
fn resolve<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    // SAFETY: V8 calls this with the current context.
    v8::callback_scope!(unsafe scope, context);
    let importer = referrer.script_id().and_then(|id| state::get(scope).modules.paths.get(&id).cloned())?;
    let specifier = specifier.to_rust_string_lossy(scope);
    module(scope, &resolve_path(&specifier, &importer), &importer)
}

/// V8 calls this for each `import()`.
pub(crate) fn import<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _options: v8::Local<'s, v8::Data>,
    importer: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    let resolver = v8::PromiseResolver::new(scope)?;
    let importer = importer.to_rust_string_lossy(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    v8::tc_scope!(scope, scope);
    let loaded = module(scope, &resolve_path(&specifier, &importer), &importer)
        .and_then(|module| evaluate(scope, module).map(|()| module.get_module_namespace()));
    match loaded {
        Some(namespace) => resolver.resolve(scope, namespace)?,
        None => {
            let error = scope.exception()?;
            scope.reset();
            resolver.reject(scope, error)?
        }
    };
    Some(resolver.get_promise(scope))
}

/// V8 asks this before WebAssembly is compiled: bytes never are, modules of the program are.
// SAFETY: V8 calls this with the current context.
pub(crate) unsafe extern "C" fn wasm_allowed(context: v8::Local<v8::Context>, _: v8::Local<v8::String>) -> bool {
    // SAFETY: V8 calls this with the current context.
    v8::callback_scope!(unsafe scope, context);
    state::get(scope).wasm_allowed
}

/// The path a specifier means: relative ones from the importer's folder, others from the project's root.
fn resolve_path(specifier: &str, importer: &str) -> String {
    let (base, rest) = match specifier.strip_prefix('/') {
        Some(rest) => ("", rest),
        None if specifier.starts_with("./") || specifier.starts_with("../") => {
            (importer.rsplit_once('/').map_or("", |(folder, _)| folder), specifier)
        }
        None => return specifier.to_owned(),
    };
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_specifiers_start_at_the_importers_folder() {
        for (specifier, importer, path) in [
            ("./b.js", "src/a.js", "src/b.js"),
            ("../b.js", "src/deep/a.js", "src/b.js"),
            ("../../../b.js", "src/a.js", "b.js"),
            ("./x/./y/../b.js", "a.js", "x/b.js"),
            ("/b.js", "src/a.js", "b.js"),
            ("b.js", "src/a.js", "b.js"),
            ("cloudflare:workers", "src/a.js", "cloudflare:workers"),
        ] {
            assert_eq!(resolve_path(specifier, importer), path, "{specifier} from {importer}");
        }
    }
}
