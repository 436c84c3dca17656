//! Compiling a worker: its modules are compiled and run once, to find errors and exports and to keep V8's code cache.

use std::sync::Arc;

use crate::{
    error::CompileError,
    isolate::Isolate,
    js, modules,
    program::{Program, Source},
    state, turn,
};

/// Compiles on a JavaScript thread, in an isolate of its own.
pub(crate) fn compile(isolate: &Isolate, source: Source) -> Result<Arc<Program>, CompileError> {
    if !source.modules.contains_key(&source.main) {
        return Err(CompileError(format!("there is no module {:?}, the worker's `main`", source.main)));
    }
    let program = Arc::new(Program::uncompiled(source));
    let actor_classes = isolate.enter(|scope| {
        let made = run(scope, &program);
        state::get(scope).program = None;
        made
    })?;
    let mut program =
        Arc::try_unwrap(program).map_err(|_| CompileError("internal error: the program is in use".into()))?;
    program.actor_classes = actor_classes;
    Ok(Arc::new(program))
}

fn run(scope: &mut v8::PinScope, program: &Arc<Program>) -> Result<Vec<String>, CompileError> {
    state::get(scope).program = Some(program.clone());
    v8::tc_scope!(scope, scope);
    let made = turn::try_boot(scope, program).and_then(|()| modules::compile_rest(scope, program));
    match made {
        Some(()) => {
            modules::keep_caches(scope, program);
            Ok(turn::actor_classes(scope))
        }
        None => {
            let reason = state::get(scope).kill.reason();
            let (exception, message) = (scope.exception(), scope.message());
            scope.reset();
            Err(CompileError(match (reason, exception) {
                (Some(reason), _) => format!("the worker's top level {reason}"),
                (None, Some(exception)) => js::located(scope, exception, message),
                (None, None) => "the worker's top level was stopped".into(),
            }))
        }
    }
}
