//! What a user asks of his own machine.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use gatefold::command::{Arg, Call, Executor, Kernel, KernelTable};
use gatefold::plan::Encoding;
use gatefold::verify::Model;
use gatefold::{
    Array, Bias, Device, Error, Forecaster, Init, Lstm, LstmCell, LstmConfig, checkpoint, verify,
};

/// Every variant that the device can run is run, and is right.
pub fn every_variant(device: &Device) {
    let mut told = Vec::new();
    let report = verify::verify_with(device, |done, total| told.push((done, total))).unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.device, device.to_string());
    let limits = device.limits();
    assert_eq!(report.loops.is_some(), limits.software);
    let loops = report.loops.clone().unwrap_or_default();
    assert!(limits.loop_budget.is_none_or(|budget| loops.contains(&budget.to_string())), "{loops}");
    assert!(report.to_string().contains(&loops), "{report}");
    for left_out in &report.left_out {
        assert!(left_out.reason.starts_with("needs "), "{left_out:?}");
    }
    let met: BTreeSet<&str> = report.rows.iter().map(|row| row.name).collect();
    let variants = |kernel: &Kernel| match device.limits().executor {
        Executor::Gpu => kernel.variants.len(),
        Executor::Cpu => 1,
    };
    for kernel in &device.table().0 {
        let count = |name: &str| usize::from(name == kernel.name);
        let ran: usize = report.rows.iter().map(|row| count(row.name)).sum();
        let left: usize = report.left_out.iter().map(|left| count(left.kernel)).sum();
        assert_eq!(ran + left, variants(kernel), "{}", kernel.name);
        assert!(met.contains(kernel.name), "{}", kernel.name);
    }
    // What isn't rounded is exact, and something is.
    let inexact = report.rows.iter().filter(|row| row.worst.error > 0.0).count();
    assert!(inexact > 20, "{report}");
    assert!(report.rows.iter().all(|row| row.worst.share() <= 1.0), "{report}");
    let (last, total) = (told.last().unwrap(), told.len());
    assert_eq!(*last, (total - 1, total - 1));
}

/// The table with one kernel that does something else, on both executors.
fn broken(device: &Device, name: &str, right: &str, wrong: &str) -> Device {
    let KernelTable(mut rows) = device.table().clone();
    let row = rows.iter_mut().find(|kernel| kernel.name == name).unwrap();
    for variant in &mut row.variants {
        assert!(variant.source().contains(right), "{name}, {}", variant.name);
        let source = variant.source().replace(right, wrong);
        *variant = variant.clone().with_source(source);
    }
    row.fast = Some(|call: Call<'_, '_, f32>| {
        let row = &gatefold::kernels::table()[call.dispatch.kernel];
        (row.twin)(Call { dispatch: call.dispatch, args: &mut *call.args });
        for arg in call.args {
            if let Arg::Write(values) = arg {
                values.iter_mut().for_each(|v| *v = 1.0 - *v);
            }
        }
    });
    device.clone().with_table(KernelTable(rows))
}

/// Where no kernel does anything, every row of the report says so: each has something to do in what is run.
pub fn nothing_goes_unnoticed(device: &Device) {
    let KernelTable(mut rows) = device.table().clone();
    for variant in rows.iter_mut().flat_map(|kernel| &mut kernel.variants) {
        let (head, body) = variant.source().split_once("fn main(").unwrap();
        let body = body.replacen('{', "{ if true { return; }", 1);
        *variant = variant.clone().with_source(format!("{head}fn main({body}"));
    }
    rows.iter_mut().for_each(|kernel| kernel.fast = Some(|_| ()));
    let report = gatefold::verify(&device.clone().with_table(KernelTable(rows))).unwrap();
    let right = report.rows.iter().filter(|row| row.problem.is_none());
    let right: Vec<&str> = right.map(|row| row.name).collect();
    // The executor's own work.
    assert_eq!(right, ["copy", "zero"], "{report}");
}

/// A kernel that is wrong is the only one that the report calls so.
pub fn a_broken_kernel_is_named(device: &Device) {
    let broken = broken(device, "argmax", "f32(best)", "f32(best + 1u)");
    let report = gatefold::verify(&broken).unwrap();
    assert!(!report.passed());
    let wrong: Vec<&str> =
        report.rows.iter().filter(|row| row.problem.is_some()).map(|row| row.name).collect();
    assert_eq!(wrong, ["argmax"]);
    let text = report.to_string();
    assert!(text.contains("WRONG: argmax") && text.contains(" of "), "{text}");
    assert!(text.contains(&device.to_string()), "{text}");
}

/// Among the models are some whose layers run a timestep each in one launch.
pub fn layers_at_once_are_run(device: &Device) {
    if device.limits().executor == Executor::Cpu {
        return;
    }
    let without = broken(
        device,
        "lstm_step_forward",
        "return INPUT && n >= params.input_from;",
        "return false;",
    );
    let without = broken(
        &without,
        "lstm_step_backward",
        "return HIGHER && n < params.above_until;",
        "return false;",
    );
    let report = gatefold::verify(&without).unwrap();
    for row in &report.rows {
        let of_them = ["lstm_step_forward", "lstm_step_backward", "pass"].contains(&row.name);
        let steps = row.name.starts_with("lstm_step_");
        assert!(row.problem.is_none() || of_them, "{report}");
        assert!(row.problem.is_some() || !steps, "each is met: {report}");
    }
}

/// A file in a folder of its own.
fn file(save: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path);
    (folder, path)
}

/// All commands of a file's model on the device and on the CPU.
fn agrees(device: &Device, path: &Path, lstm: Option<&str>) -> Model {
    let model = match lstm {
        None => Model::load(device, path, 5, 3),
        Some(lstm) => Model::load_named(device, path, (lstm, "fc."), 5, 3),
    }
    .unwrap_or_else(|e| panic!("{e}"));
    let cpu = Device::cpu();
    let mut commands = 0;
    for checks in model.lockstep(&[device, &cpu]).unwrap() {
        assert_eq!(checks.len(), 2);
        for check in checks {
            check.unwrap_or_else(|e| panic!("{e}\n{}", model.plan()));
        }
        commands += 1;
    }
    assert_eq!(commands, model.plan().program.commands.len());
    model
}

/// Models of every kind that files hold, beside their twins.
pub fn models_agree(device: &Device) {
    let config = || LstmConfig::new(3, 9).layers(2);
    let (_folder, path) = file(|path| {
        let config = config().bidirectional(true).proj_size(4).learned_state(true);
        Lstm::new(device, config).unwrap().save(path).unwrap();
    });
    assert_eq!(agrees(device, &path, None).plan().shape.projection, Some(4));
    let (_folder, path) = file(|path| {
        let config = LstmConfig::new(5, 8).embedding(11).bias(Bias::Single);
        Forecaster::every_step(device, config, 11).unwrap().save(path).unwrap();
    });
    assert_eq!(agrees(device, &path, None).plan().shape.encoding, Encoding::Embedding(11));
    let (_folder, path) =
        file(|path| LstmCell::new(device, LstmConfig::new(3, 6)).unwrap().save(path).unwrap());
    assert_eq!(agrees(device, &path, None).plan().shape.hidden, 6);

    // Weights with which f32 is far off: sums of hundreds, gates that are almost steps.
    let (_folder, path) = file(|path| {
        let large = Init::Normal { mean: 0.0, std: 40.0 };
        let config = LstmConfig::new(40, 70).init("weight", large);
        Forecaster::new(device, config, 2).unwrap().save(path).unwrap();
    });
    let model = agrees(device, &path, None);
    let checks: Vec<_> = model.lockstep(&[device]).unwrap().flatten().map(Result::unwrap).collect();
    assert!(checks.iter().any(|check| check.as_f32), "weights aren't large enough");
}

/// Of a file with several LSTMs one has to be named; what isn't part of it is said.
pub fn one_of_several(device: &Device) {
    let lstm = Lstm::new(device, LstmConfig::new(2, 4)).unwrap().state_dict().unwrap();
    let tensors =
        [checkpoint::prefixed(&lstm, "encoder."), checkpoint::prefixed(&lstm, "decoder.")];
    let (_folder, path) =
        file(|path| checkpoint::write(path, &tensors.concat(), &HashMap::new()).unwrap());
    match Model::load(device, &path, 5, 3) {
        Err(Error::Checkpoint { problem, .. }) => {
            assert!(problem.contains("encoder.") && problem.contains("decoder."), "{problem}");
        }
        _ => panic!("one of two was taken"),
    }
    let model = agrees(device, &path, Some("decoder."));
    assert_eq!(model.ignored().len(), 4);
    assert!(model.ignored().iter().all(|name| name.starts_with("encoder.")));

    let array = Array::new(vec![1.0], &[1]).unwrap();
    let (_folder, path) = file(|path| {
        checkpoint::write(path, &[("bias".to_owned(), array)], &HashMap::new()).unwrap();
    });
    assert!(matches!(Model::load(device, &path, 5, 3), Err(Error::Checkpoint { .. })));
}

/// The first command that diverges is named, on the device that is wrong and on no other.
pub fn a_divergence_is_named(device: &Device) {
    let right = "slope = by * weight * found.slope;";
    let broken = broken(device, "pointwise_loss", right, "slope = -by * found.slope;");
    let (_folder, path) =
        file(|path| Forecaster::new(device, LstmConfig::new(3, 9), 2).unwrap().save(path).unwrap());
    let model = Model::load(device, &path, 5, 3).unwrap();
    let mut checks = model.lockstep(&[device, &broken]).unwrap();
    let first = checks.find(|checks| checks.iter().any(Result::is_err)).unwrap();
    assert!(first[0].is_ok(), "{:?}", first[0]);
    match &first[1] {
        Err(Error::Diverged { kernel, index, .. }) => {
            assert_eq!(*kernel, "pointwise_loss");
            assert_eq!(model.plan().program.commands[*index].label, "loss");
        }
        other => panic!("{other:?}"),
    }
    // What comes after it is right again.
    assert!(checks.flatten().all(|check| check.is_ok()));
}
