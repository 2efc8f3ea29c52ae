//! Names that a module has since it is wrapped: `torch.compile`, `DataParallel`, `AveragedModel`.

use std::collections::HashSet;

use crate::checkpoint::StateDict;

/// Takes wrappers off the names of tensors, and says which; an error where two become one.
///
/// - `_orig_mod.`, anywhere: `torch.compile`.
/// - `module.` in front of all: `DataParallel`, `DistributedDataParallel`, and `AveragedModel`, which keeps a
///   number beside it.
pub(super) fn taken_off(
    tensors: StateDict,
    converted: &mut Vec<String>,
) -> Result<StateDict, String> {
    let mut names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
    let compiled = |name: &String| name.split('.').any(|part| part == "_orig_mod");
    let count = names.iter().filter(|name| compiled(name)).count();
    if count > 0 {
        for name in &mut names {
            let parts: Vec<&str> = name.split('.').filter(|&part| part != "_orig_mod").collect();
            *name = parts.join(".");
        }
        converted.push(format!("_orig_mod, of torch.compile, taken off {count} names"));
    }
    let wrapped = |names: &[String]| {
        let rest = names.iter().filter(|name| *name != "n_averaged");
        rest.clone().count() > 0 && rest.clone().all(|name| name.starts_with("module."))
    };
    let mut wrappers = 0;
    while wrapped(&names) {
        for name in &mut names {
            if let Some(rest) = name.strip_prefix("module.") {
                *name = rest.to_owned();
            }
        }
        wrappers += 1;
    }
    if wrappers > 0 {
        let times = if wrappers == 1 { String::new() } else { format!(" {wrappers} times") };
        converted.push(format!("module, of a wrapper, taken off {} names{times}", names.len()));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("{twice} stands twice, wrapped and as it is"));
    }
    Ok(names.into_iter().zip(tensors).map(|(name, (_, array))| (name, array)).collect())
}
