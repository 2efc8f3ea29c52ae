//! The table and its files: nothing is missing, modules are valid, layouts agree.

use std::collections::BTreeSet;
use std::path::Path;

use gatefold::kernels;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the Rust files or folders of a folder, but `except`.
fn stems(folder: &str, extension: &str, except: &[&str]) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !except.contains(&name.as_str()))
        .collect()
}

#[test]
fn every_kernel_has_its_three_files() {
    let table: BTreeSet<String> = kernels::table().0.iter().map(|k| k.name.to_owned()).collect();
    assert_eq!(stems("shaders", "wgsl", &["common"]), table, "shaders/");
    assert_eq!(stems("src/kernels", "rs", &["mod"]), table, "src/kernels/");
    assert_eq!(
        stems("src/reference", "rs", &["mod", "compare", "optimizer", "readout", "sequence"]),
        table,
        "src/reference/"
    );
    let benches = std::fs::read_to_string(root().join("benches/kernels.rs")).unwrap();
    for kernel in kernels::table().0 {
        assert!(!kernel.variants.is_empty(), "{} has no shader", kernel.name);
        assert!(benches.contains(&format!("\"{}\"", kernel.name)), "{} has no bench", kernel.name);
    }
}

#[test]
fn ids_are_positions() {
    let table = kernels::table();
    let ids = [
        (kernels::MATMUL, "matmul"),
        (kernels::LSTM_STEP_FORWARD, "lstm_step_forward"),
        (kernels::LSTM_STEP_BACKWARD, "lstm_step_backward"),
        (kernels::COLUMN_SUM, "column_sum"),
        (kernels::REDUCE_SUM, "reduce_sum"),
        (kernels::POINTWISE_LOSS, "pointwise_loss"),
        (kernels::ADAM, "adam"),
        (kernels::COPY_SEQUENCE, "copy_sequence"),
        (kernels::COPY_AT_LENGTH, "copy_at_length"),
        (kernels::DROPOUT, "dropout"),
        (kernels::SGD, "sgd"),
        (kernels::RMSPROP, "rmsprop"),
        (kernels::GRADIENT_NORM, "gradient_norm"),
        (kernels::CLIP_SCALE, "clip_scale"),
        (kernels::EMBEDDING, "embedding"),
        (kernels::EMBEDDING_BACKWARD, "embedding_backward"),
        (kernels::ONE_HOT, "one_hot"),
        (kernels::SOFTMAX, "softmax"),
        (kernels::ARGMAX, "argmax"),
        (kernels::ACCURACY, "accuracy"),
        (kernels::CROSS_ENTROPY_LOSS, "cross_entropy_loss"),
        (kernels::PACK_PANELS, "pack_panels"),
        (kernels::LSTM_SEQUENCE_FORWARD, "lstm_sequence_forward"),
        (kernels::LSTM_SEQUENCE_BACKWARD, "lstm_sequence_backward"),
        (kernels::TRAINING_STEP, "training_step"),
        (kernels::LSTM_WAVEFRONT_FORWARD, "lstm_wavefront_forward"),
        (kernels::LSTM_WAVEFRONT_BACKWARD, "lstm_wavefront_backward"),
        (kernels::POOL_OVER_TIME, "pool_over_time"),
        (kernels::POOL_OVER_TIME_BACKWARD, "pool_over_time_backward"),
        (kernels::SIGMOID, "sigmoid"),
        (kernels::BINARY_ACCURACY, "binary_accuracy"),
    ];
    assert_eq!(ids.len(), table.0.len());
    for (id, name) in ids {
        assert_eq!(table[id].name, name);
    }
}

#[test]
fn modules_are_valid_and_agree_with_their_rows() {
    let mut modules = 0;
    for kernel in kernels::table().0 {
        for variant in &kernel.variants {
            let what = format!("{} ({})", kernel.name, variant.name);
            let module = naga::front::wgsl::parse_str(variant.source())
                .unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(variant.source())));
            // What every device has, or what the variant says that it needs.
            let capabilities = match variant.subgroup {
                None => Capabilities::empty(),
                Some(_) => Capabilities::SUBGROUP,
            };
            let mut validator = Validator::new(ValidationFlags::all(), capabilities);
            if variant.subgroup.is_some() {
                validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
                validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
            }
            validator.validate(&module).unwrap_or_else(|e| panic!("{what}: {e:?}"));

            let mut storage = 0;
            for (_, variable) in module.global_variables.iter() {
                let Some(binding) = &variable.binding else { continue };
                assert_eq!(binding.group, 0, "{what}");
                match variable.space {
                    naga::AddressSpace::Uniform => {
                        assert_eq!(binding.binding, 0, "{what}");
                        let naga::TypeInner::Struct { members, span } =
                            &module.types[variable.ty].inner
                        else {
                            panic!("{what}: the constants are no struct");
                        };
                        assert_eq!(
                            *span as usize, kernel.params_size,
                            "{what}: the constants' size"
                        );
                        assert_eq!(
                            members.len(),
                            kernel.fields.len(),
                            "{what}: the constants' fields"
                        );
                        for (member, field) in members.iter().zip(kernel.fields) {
                            assert_eq!(
                                member.offset as usize, field.offset,
                                "{what}: {}",
                                field.name
                            );
                            let scalar = match field.ty {
                                "u32" => naga::Scalar::U32,
                                "i32" => naga::Scalar::I32,
                                "f32" => naga::Scalar::F32,
                                other => panic!("{what}: {} is {other}", field.name),
                            };
                            let inner = &module.types[member.ty].inner;
                            let same = *inner == naga::TypeInner::Scalar(scalar);
                            assert!(same, "{what}: {} is {inner:?}", field.name);
                        }
                    }
                    naga::AddressSpace::Storage { access } => {
                        storage += 1;
                        let row = &kernel.bindings[binding.binding as usize - 1];
                        assert_eq!(variable.name.as_deref(), Some(row.name), "{what}");
                        let writes = row.access == gatefold::command::Access::ReadWrite;
                        assert_eq!(
                            access.contains(naga::StorageAccess::STORE),
                            writes,
                            "{what}: {}",
                            row.name
                        );
                    }
                    other => panic!("{what}: a binding in {other:?}"),
                }
            }
            assert_eq!(storage, kernel.bindings.len(), "{what}: bindings");
            assert!(storage <= 8, "{what}: WebGPU offers 8 storage buffers");
            let entry = &module.entry_points[0];
            assert_eq!(
                (entry.name.as_str(), entry.workgroup_size),
                ("main", variant.workgroup),
                "{what}"
            );
            let invocations: u32 = variant.workgroup.iter().product();
            assert!(invocations <= 256, "{what}: WebGPU offers 256 invocations");
            let declared = workgroup_memory(&module);
            // Those for drivers that compute on a CPU are chosen by what a device offers.
            let chosen = kernel.name.starts_with("lstm_sequence") && variant.subgroup.is_some();
            assert!(declared <= 16 << 10 || chosen, "{what}: {declared} bytes of memory");
            modules += 1;
        }
    }
    assert!(modules >= 10);
}

/// Bytes of memory that a workgroup of a module has.
fn workgroup_memory(module: &naga::Module) -> usize {
    let shared =
        module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
    shared.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()) as usize).sum()
}

/// What the planner holds against a device's limit is what the modules declare.
#[test]
fn walkers_have_the_memory_that_they_say() {
    use kernels::{lstm_sequence_backward as back, lstm_sequence_forward as front};

    let table = kernels::table();
    let module =
        |variant: &gatefold::command::Variant| naga::front::wgsl::parse_str(variant.source());
    for (variant, walker) in
        table[kernels::LSTM_SEQUENCE_FORWARD].variants.iter().zip(front::WALKERS)
    {
        let declared = workgroup_memory(&module(variant).unwrap());
        assert_eq!(declared, front::memory(walker), "forward, {walker:?}");
    }
    for (variant, walker) in
        table[kernels::LSTM_SEQUENCE_BACKWARD].variants.iter().zip(back::WALKERS)
    {
        let declared = workgroup_memory(&module(variant).unwrap());
        assert_eq!(declared, back::memory(walker), "backward, {walker:?}");
    }
}

#[test]
fn rows_are_shared_by_as_many_as_they_need() {
    for (classes, lanes) in [
        (1, 1),
        (32, 1),
        (33, 2),
        (64, 2),
        (65, 4),
        (300, 16),
        (1024, 32),
        (1025, 64),
        (1 << 20, 64),
    ] {
        assert_eq!(kernels::row_lanes(classes), lanes, "{classes} classes");
        // A workgroup has 64 of them.
        let rows = 64 / lanes;
        assert_eq!(kernels::row_grid(rows, classes), [1, 1, 1]);
        assert_eq!(kernels::row_grid(rows + 1, classes), [2, 1, 1]);
        assert_eq!(kernels::row_grid(rows * 32_769, classes), [32_768, 2, 1]);
    }
    let most = kernels::classes_within(65_000, 3);
    assert!(most > 1_000_000 && 3 * (most / 64 + 1) + 14 <= 65_000);
}

#[test]
fn field_names_agree() {
    for kernel in kernels::table().0 {
        for variant in &kernel.variants {
            let text = variant.source().split("struct Params {").nth(1).unwrap();
            let body = text.split('}').next().unwrap();
            let names: Vec<&str> =
                body.lines().filter_map(|l| l.trim().split_once(':')).map(|(n, _)| n).collect();
            let fields: Vec<&str> = kernel.fields.iter().map(|f| f.name).collect();
            assert_eq!(names, fields, "{}", kernel.name);
        }
    }
}

/// Columns and places have the same numbers in Rust and WGSL.
#[test]
fn constants_agree() {
    use gatefold::kernels::gradient_norm::CHUNK;
    use gatefold::reference::{
        AdamSettings, CommonSettings, GROUP_BLOCK, RmsPropSettings, SETTINGS, SgdSettings, kind,
        policy, scalars, status,
    };

    // In each kernel's module: a name and its value.
    let agree = |kernel: &str, wanted: &[(&str, f64)]| {
        let table = kernels::table();
        let row = table.0.iter().find(|row| row.name == kernel).unwrap();
        for (name, want) in wanted {
            let line = format!("const {name} = ");
            let text = row.variants[0].source().split(line.as_str()).nth(1);
            let text = text.unwrap_or_else(|| panic!("{kernel} has no {name}"));
            let value = text.split(';').next().unwrap().trim_end_matches('u');
            assert_eq!(value.parse::<f64>().unwrap(), *want, "{kernel}, {name}");
        }
    };
    let places = [
        ("STATUS_SCALE", status::SCALE),
        ("STATUS_NORM", status::NORM),
        ("STATUS_APPLY", status::APPLY),
        ("STATUS_HALTED", status::HALTED),
        ("STATUS_KIND", status::KIND),
        ("STATUS_CHUNK", status::CHUNK),
        ("STATUS_OFFSET", status::OFFSET),
        ("STATUS_SINCE", status::SINCE),
        ("STATUS_SKIPPED", status::SKIPPED),
        ("MAX_NORM", scalars::MAX_NORM),
        ("POLICY", scalars::POLICY),
        ("CHUNK", CHUNK),
    ];
    agree("clip_scale", &places.map(|(name, place)| (name, place as f64)));
    let named = [
        ("KIND_NONE", kind::NONE),
        ("KIND_LOSS", kind::LOSS),
        ("KIND_GRADIENT", kind::GRADIENT),
        ("POLICY_SKIP", policy::SKIP),
        ("POLICY_ERROR", policy::ERROR),
    ];
    agree("clip_scale", &named.map(|(name, value)| (name, f64::from(value))));
    agree("adam", &[("SETTINGS", SETTINGS as f64), ("GROUP_BLOCK", GROUP_BLOCK as f64)]);

    // Settings that are whole numbers: the column of each is where its number stands in the row.
    let common = CommonSettings {
        rate: 10.0,
        weight_decay: 11.0,
        keep: 12.0,
        clip_value: 13.0,
        active: true,
    };
    let columns = |kernel: &str, row: [f32; SETTINGS], names: &[(&str, f32)]| {
        let at = |value: f32| row.iter().position(|&v| v == value).unwrap() as f64;
        let shared = [("RATE", 10.0), ("WEIGHT_DECAY", 11.0), ("KEEP", 12.0)];
        let shared = shared.into_iter().chain([("CLIP_VALUE", 13.0), ("ACTIVE", 1.0)]);
        let wanted: Vec<(&str, f64)> =
            shared.chain(names.iter().copied()).map(|(name, value)| (name, at(value))).collect();
        agree(kernel, &wanted);
    };
    let adam = AdamSettings {
        common,
        one_minus_beta1: 20.0,
        beta2: 21.0,
        one_minus_beta2: 22.0,
        eps: 23.0,
        root_correction: 24.0,
    };
    let own = [("ONE_MINUS_BETA1", 20.0), ("BETA2", 21.0), ("ONE_MINUS_BETA2", 22.0)];
    columns("adam", adam.row(), &own);
    columns("adam", adam.row(), &[("EPS", 23.0), ("ROOT_CORRECTION", 24.0)]);
    let rmsprop =
        RmsPropSettings { common, alpha: 20.0, one_minus_alpha: 21.0, eps: 22.0, momentum: 23.0 };
    let own = [("ALPHA", 20.0), ("ONE_MINUS_ALPHA", 21.0), ("EPS", 22.0), ("MU", 23.0)];
    columns("rmsprop", rmsprop.row(), &own);
    let sgd = SgdSettings { common, momentum: 20.0, gradient_share: 21.0, nesterov: false };
    columns("sgd", sgd.row(), &[("MU", 20.0), ("GRADIENT_SHARE", 21.0)]);
    let ahead =
        SgdSettings { common: CommonSettings { active: false, ..common }, nesterov: true, ..sgd };
    assert_eq!(ahead.row()[7], 1.0);
    agree("sgd", &[("NESTEROV", 7.0)]);

    assert_eq!(AdamSettings::from_row(&adam.row()), adam);
    assert_eq!(RmsPropSettings::from_row(&rmsprop.row().map(f64::from)), rmsprop);
    assert_eq!(SgdSettings::from_row(&ahead.row()), ahead);
}
