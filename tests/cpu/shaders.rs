//! The table and its files: nothing is missing, modules are valid, layouts agree.

use std::collections::BTreeSet;

use gatefold::{kernels, wgpu};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::root;

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
    assert_eq!(stems("src/kernels", "rs", &["mod", "cell", "cut"]), table, "src/kernels/");
    assert_eq!(
        stems(
            "src/reference",
            "rs",
            &[
                "mod",
                "cell",
                "cell_activation",
                "cell_masks",
                "cell_options",
                "compare",
                "optimizer",
                "readout",
                "sequence"
            ]
        ),
        table,
        "src/reference/"
    );
    let benches = std::fs::read_dir(root().join("benches/kernels")).unwrap();
    let benches: String =
        benches.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
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
        (kernels::POOL_OVER_TIME, "pool_over_time"),
        (kernels::POOL_OVER_TIME_BACKWARD, "pool_over_time_backward"),
        (kernels::NONLINEARITY, "nonlinearity"),
        (kernels::BINARY_ACCURACY, "binary_accuracy"),
        (kernels::NONLINEARITY_BACKWARD, "nonlinearity_backward"),
        (kernels::ALIGN_SEQUENCE, "align_sequence"),
        (kernels::PEEPHOLE_GRADIENT, "peephole_gradient"),
        (kernels::SEQUENCE_DROPOUT, "sequence_dropout"),
        (kernels::PROJECTION_CLIP, "projection_clip"),
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

/// What of a module may come out otherwise on a driver that none of the suite's is like: variables of loops
/// that are given no value, and writes to one component of a vector in memory that invocations share.
///
/// Chromium's compiler doesn't make such a variable zero again in every iteration, as WGSL has it. And WGSL
/// lets a write to a component write the whole vector, so that invocations that write different components
/// may undo each other's.
fn on_other_drivers(source: &str) -> Vec<String> {
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{e}"));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP);
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&module).unwrap_or_else(|e| panic!("{e:?}"));
    let functions = module.functions.iter().map(|(handle, f)| (f, &info[handle]));
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.map(|(i, entry)| (&entry.function, info.get_entry_point(i)));
    let mut found = Vec::new();
    for (function, info) in functions.chain(entries) {
        let mut says = |what: &str, span: naga::Span| {
            let line = span.location(source).line_number as usize;
            found.push(format!("{what}: {}", source.lines().nth(line - 1).unwrap().trim()));
        };
        stores(&function.body, &mut |pointer, value, span| {
            // naga makes the zero of a variable without a value where it is declared, if that is in a loop.
            if let naga::Expression::LocalVariable(variable) = function.expressions[pointer]
                && let naga::Expression::ZeroValue(_) = function.expressions[value]
                && function.expressions.get_span(value)
                    == function.local_variables.get_span(variable)
            {
                says("has no value", span);
            }
            if let naga::TypeInner::ValuePointer { size: None, space, .. } =
                info[pointer].ty.inner_with(&module.types)
                && matches!(
                    space,
                    naga::AddressSpace::WorkGroup | naga::AddressSpace::Storage { .. }
                )
            {
                says("writes a component", span);
            }
        });
    }
    found
}

/// Calls `each` for every store of a block, and of those in it: where to, what, and its place in the text.
fn stores(
    block: &naga::Block,
    each: &mut impl FnMut(naga::Handle<naga::Expression>, naga::Handle<naga::Expression>, naga::Span),
) {
    use naga::Statement;
    for (statement, span) in block.span_iter() {
        match statement {
            Statement::Store { pointer, value } => each(*pointer, *value, *span),
            Statement::Block(block) => stores(block, each),
            Statement::If { accept, reject, .. } => {
                stores(accept, each);
                stores(reject, each);
            }
            Statement::Switch { cases, .. } => {
                cases.iter().for_each(|case| stores(&case.body, each));
            }
            Statement::Loop { body, continuing, .. } => {
                stores(body, each);
                stores(continuing, each);
            }
            _ => (),
        }
    }
}

/// No module relies on what other compilers do in another way.
#[test]
fn modules_mean_the_same_everywhere() {
    let mut found = Vec::new();
    for kernel in kernels::table().0 {
        for variant in &kernel.variants {
            let of_it = on_other_drivers(variant.source());
            found.extend(
                of_it.iter().map(|what| format!("{}, {}: {what}", kernel.name, variant.name)),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The check of the modules sees what it is for, and nothing else.
#[test]
fn what_other_drivers_do_is_found() {
    let module = |functions: &str, body: &str| {
        format!(
            "var<workgroup> tile: array<vec4<f32>, 8>;
             var<workgroup> matrix: mat2x2<f32>;
             var<workgroup> numbers: array<f32, 8>;
             struct Pair {{ first: f32, quad: vec4<f32> }}
             @group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
             @group(0) @binding(2) var<storage, read_write> pairs: array<Pair>;
             {functions}
             @compute @workgroup_size(8)
             fn main(@builtin(local_invocation_index) lane: u32) {{
                 {body}
             }}"
        )
    };
    let zeros = "for (var i = 0u; i < lane; i++) {
            var sums = array<f32, 4>();
            var sum = 0.0;
            var given: vec4<f32> = vec4<f32>();
            sums[i % 4u] += f32(i);
            sum += sums[0];
            given.x = sum;
            numbers[lane] = given.x;
        }
        var outside: array<f32, 4>;
        var quad: vec4<f32>;
        quad[lane % 4u] = 1.0;
        out[lane] = quad;
        tile[lane] = vec4(outside[lane % 4u]);
        matrix[lane % 2u] = vec2(1.0);
        pairs[lane].first = 2.0;";
    let own = "fn own(lane: u32) -> f32 {
            var sum: f32;
            sum += f32(lane);
            return sum;
        }";
    let right = module(own, &format!("{zeros} numbers[lane] = own(lane);"));
    assert_eq!(on_other_drivers(&right), Vec::<String>::new());

    let in_a_loop = |before: &str, inside: &str| format!("{before} {{ {inside} }}");
    let headers = ["for (var i = 0u; i < lane; i++)", "while numbers[lane] < 9.0"];
    for header in headers {
        for declared in
            ["var sum: f32;", "var sums: array<vec4<f32>, 2>;", "if lane > 1u { var n: u32; }"]
        {
            let body = in_a_loop(header, &format!("{declared} numbers[lane] += 1.0;"));
            let found = on_other_drivers(&module("", &body));
            assert_eq!(found.len(), 1, "{body}: {found:?}");
            assert!(
                found[0].starts_with("has no value: ") && found[0].contains(declared),
                "{found:?}"
            );
            let of_a_function = format!("fn f(lane: u32) {{ {body} }}");
            assert_eq!(on_other_drivers(&module(&of_a_function, "f(lane);")).len(), 1, "{body}");
        }
    }
    for write in [
        "tile[lane / 4u][lane % 4u] = 1.0;",
        "tile[lane / 4u].x = 1.0;",
        "out[lane / 4u][lane % 4u] += 1.0;",
        "pairs[0].quad.y = 1.0;",
        "matrix[lane / 4u][lane % 2u] = 1.0;",
        "if lane > 2u { loop { switch lane { default: { out[0].w = 1.0; break; } } break; } }",
        "let quad = &tile[lane / 4u]; (*quad)[lane % 4u] = 1.0;",
    ] {
        let found = on_other_drivers(&module("", write));
        assert_eq!(found.len(), 1, "{write}: {found:?}");
        assert!(found[0].starts_with("writes a component: "), "{found:?}");
    }
}

/// A device is taken where it has what every kernel needs in some variant, and refused, by the limit's name, where it
/// has less.
#[test]
fn devices_have_what_kernels_need() {
    use gatefold::Error;
    use gatefold::gpu::Gpu;

    let table = kernels::table();
    let every = || table.0.iter().flat_map(|kernel| &kernel.variants);
    // Of each kernel the variant that asks for least; those with subgroups need them besides.
    let of_each = |of: &dyn Fn(&gatefold::command::Variant) -> u32| {
        let least = |kernel: &gatefold::command::Kernel| {
            kernel.variants.iter().filter(|v| v.subgroup.is_none()).map(of).min().unwrap()
        };
        table.0.iter().map(least).max().unwrap()
    };
    let bindings = table.0.iter().map(|kernel| kernel.bindings.len() as u32).max().unwrap();
    let constants = table.0.iter().map(|kernel| kernel.params_size as u64).max().unwrap();
    let memory = of_each(&|variant| {
        workgroup_memory(&naga::front::wgsl::parse_str(variant.source()).unwrap()) as u32
    });
    let webgpu = wgpu::Limits::default();
    let least = wgpu::Limits {
        max_bind_groups: 1,
        max_bindings_per_bind_group: bindings + 1,
        max_uniform_buffers_per_shader_stage: 1,
        max_dynamic_uniform_buffers_per_pipeline_layout: 1,
        max_storage_buffers_per_shader_stage: bindings,
        max_uniform_buffer_binding_size: 256,
        max_storage_buffer_binding_size: 256,
        max_buffer_size: 256,
        max_compute_workgroup_storage_size: 16 << 10,
        max_compute_invocations_per_workgroup: of_each(&|v| v.workgroup.iter().product()),
        max_compute_workgroup_size_x: 256,
        max_compute_workgroup_size_y: every().map(|v| v.workgroup[1]).max().unwrap(),
        max_compute_workgroup_size_z: every().map(|v| v.workgroup[2]).max().unwrap(),
        max_compute_workgroups_per_dimension: 8,
        ..wgpu::Limits::downlevel_webgl2_defaults()
    };
    assert!(constants <= 256 && memory <= 16 << 10, "{constants} and {memory} bytes");
    assert!(every().filter(|v| v.subgroup.is_none()).all(|v| v.workgroup[0] <= 256));
    Gpu::check_limits(&least).unwrap();
    Gpu::check_limits(&webgpu).unwrap();

    let refused = |limits: &wgpu::Limits| match Gpu::check_limits(limits) {
        Err(Error::Limit { limit, needed, available, .. }) => (limit, needed, available),
        other => panic!("{other:?} for {limits:?}"),
    };
    type Smaller = (&'static str, fn(&mut wgpu::Limits) -> u64);
    let smaller: [Smaller; 14] = [
        ("max_bind_groups", |l| less(&mut l.max_bind_groups)),
        ("max_bindings_per_bind_group", |l| less(&mut l.max_bindings_per_bind_group)),
        ("max_uniform_buffers_per_shader_stage", |l| {
            less(&mut l.max_uniform_buffers_per_shader_stage)
        }),
        ("max_dynamic_uniform_buffers_per_pipeline_layout", |l| {
            less(&mut l.max_dynamic_uniform_buffers_per_pipeline_layout)
        }),
        ("max_storage_buffers_per_shader_stage", |l| {
            less(&mut l.max_storage_buffers_per_shader_stage)
        }),
        ("max_uniform_buffer_binding_size", |l| less(&mut l.max_uniform_buffer_binding_size)),
        ("max_storage_buffer_binding_size", |l| less(&mut l.max_storage_buffer_binding_size)),
        ("max_buffer_size", |l| less(&mut l.max_buffer_size)),
        ("max_compute_workgroup_storage_size", |l| less(&mut l.max_compute_workgroup_storage_size)),
        ("max_compute_invocations_per_workgroup", |l| {
            less(&mut l.max_compute_invocations_per_workgroup)
        }),
        ("max_compute_workgroup_size_x", |l| less(&mut l.max_compute_workgroup_size_x)),
        ("max_compute_workgroup_size_y", |l| less(&mut l.max_compute_workgroup_size_y)),
        ("max_compute_workgroup_size_z", |l| less(&mut l.max_compute_workgroup_size_z)),
        ("max_compute_workgroups_per_dimension", |l| {
            less(&mut l.max_compute_workgroups_per_dimension)
        }),
    ];
    for (name, make_smaller) in smaller {
        let mut limits = least.clone();
        let needed = make_smaller(&mut limits);
        assert_eq!(refused(&limits), (name, needed, needed - 1));
    }
    let without_compute = wgpu::Limits::downlevel_webgl2_defaults();
    assert_eq!(refused(&without_compute).0, "max_storage_buffers_per_shader_stage");
}

/// Makes a limit smaller by one; returns what it was.
fn less<T: Copy + Into<u64> + std::ops::SubAssign + From<u8>>(limit: &mut T) -> u64 {
    let before = (*limit).into();
    *limit -= T::from(1);
    before
}
