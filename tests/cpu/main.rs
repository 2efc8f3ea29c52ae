//! The suite that needs no adapter: the CPU executor, plans, shaders as text, errors.

mod cells;
mod checkpoint;
mod compare;
mod data_sets;
mod docs;
mod errors;
mod export;
mod figures;
mod import;
mod init;
mod long;
mod messages;
mod named_arrays;
mod plans;
mod prepared;
mod printed;
mod reference;
mod runs;
#[cfg(unix)]
mod saves;
mod shaders;
mod tables;
mod threads;
mod vectors;
mod verify;

use std::path::Path;

use gatefold::Device;
use gatefold_checks as common;

/// The repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A text of it.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every check that runs on any device, on the CPU.
macro_rules! on_the_cpu {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            let (_, check) = common::CHECKS.iter().find(|(name, _)| *name == $name).unwrap();
            check(&Device::cpu());
        })*

        #[test]
        fn every_check_runs_on_the_cpu() {
            let here = [$($name),*];
            for (name, _) in common::CHECKS {
                assert!(here.contains(name), "{name} isn't run");
            }
        }
    };
}

on_the_cpu! {
    late_rows_of_data_sets: "late_rows::of_data_sets",
    reports_each_has_its_own_time: "reports::each_has_its_own_time",
    reports_saves_have_their_time: "reports::saves_have_their_time",
    reports_progress_has_the_model: "reports::progress_has_the_model",
    reports_runs_go_on_or_begin: "reports::runs_go_on_or_begin",
    non_finite_in_data: "non_finite::in_data",
    non_finite_in_weights: "non_finite::in_weights",
    non_finite_in_gradients: "non_finite::in_gradients",
    non_finite_behind_the_end: "non_finite::behind_the_end",
    faults_a_batch_too_large: "faults::a_batch_too_large",
    faults_any_allocation_may_fail: "faults::any_allocation_may_fail",
    kernel_matmul: "kernel::matmul",
    kernel_pack_panels: "kernel::pack_panels",
    kernel_lstm_sequence_forward: "kernel::lstm_sequence_forward",
    kernel_lstm_sequence_backward: "kernel::lstm_sequence_backward",
    kernel_lstm_step_forward: "kernel::lstm_step_forward",
    kernel_lstm_step_backward: "kernel::lstm_step_backward",
    kernel_lstm_step_forward_of_layers: "kernel::lstm_step_forward_of_layers",
    kernel_lstm_step_backward_of_layers: "kernel::lstm_step_backward_of_layers",
    idle_workspaces_are_given_up: "memory::idle_workspaces_are_given_up",
    calls_beside_replaced_parameters: "lstm::calls_beside_replaced_parameters",
    wavefront_training_steps: "wavefront::training_steps",
    wavefront_stacks_equal_the_reference: "wavefront::stacks_equal_the_reference",
    kernel_column_sum: "kernel::column_sum",
    kernel_reduce_sum: "kernel::reduce_sum",
    kernel_pointwise_loss: "kernel::pointwise_loss",
    kernel_cross_entropy_loss: "kernel::cross_entropy_loss",
    kernel_adam: "kernel::adam",
    kernel_sgd: "kernel::sgd",
    kernel_rmsprop: "kernel::rmsprop",
    kernel_gradient_norm: "kernel::gradient_norm",
    kernel_clip_scale: "kernel::clip_scale",
    kernel_training_step: "kernel::training_step",
    one_launch_is_refused: "training_step::one_launch_equals_many",
    bad_gradients_under_each_policy: "optimizer::bad_gradients_under_each_policy",
    kernel_copy_sequence: "kernel::copy_sequence",
    kernel_copy_at_length: "kernel::copy_at_length",
    kernel_pool_over_time: "kernel::pool_over_time",
    kernel_pool_over_time_backward: "kernel::pool_over_time_backward",
    readouts_of_both_directions: "readout::of_both_directions",
    older_files_keep_their_meaning: "readout::older_files_keep_their_meaning",
    long_sequences_are_pooled_in_pieces: "readout::long_sequences_are_pooled_in_pieces",
    kernel_dropout: "kernel::dropout",
    kernel_embedding: "kernel::embedding",
    kernel_embedding_backward: "kernel::embedding_backward",
    kernel_one_hot: "kernel::one_hot",
    kernel_softmax: "kernel::softmax",
    kernel_argmax: "kernel::argmax",
    kernel_accuracy: "kernel::accuracy",
    kernel_nonlinearity: "kernel::nonlinearity",
    kernel_nonlinearity_backward: "kernel::nonlinearity_backward",
    kernel_align_sequence: "kernel::align_sequence",
    late_rows_and_reverse_layers: "alignment::late_rows_and_reverse_layers",
    rows_are_moved_in_pieces: "alignment::rows_are_moved_in_pieces",
    what_needs_the_end_is_refused: "alignment::what_needs_the_end_is_refused",
    heads_equal_the_reference: "heads::equal_the_reference",
    tied_weights: "heads::tied_weights",
    heads_of_pytorch: "heads::of_pytorch",
    heads_bad_names: "heads::bad_names_and_heads",
    heads_gradients_drop_nothing: "heads::gradients_drop_nothing",
    heads_in_pieces: "heads::in_pieces",
    streams_answer_with_predictions: "heads::streams_answer_with_predictions",
    kernel_binary_accuracy: "kernel::binary_accuracy",
    weights_of_one_change_no_bit: "losses::weights_of_one_change_no_bit",
    the_best_is_left: "endings::the_best_is_left",
    another_run_begins_with_what_is_left: "endings::another_run_begins_with_what_is_left",
    nan_is_never_best: "endings::nan_is_never_best",
    the_last_step_is_the_end: "endings::the_last_step_is_the_end",
    gaps_reach_nothing: "targets::gaps_reach_nothing",
    weights_of_one_are_none: "targets::weights_of_one_are_none",
    weights_are_repetitions: "targets::weights_are_repetitions",
    weights_come_by_every_way: "targets::weights_come_by_every_way",
    bad_weights_and_targets_are_named: "targets::bad_weights_and_targets_are_named",
    nothing_counts: "targets::nothing_counts",
    one_logit: "targets::one_logit",
    several_questions: "targets::several_questions",
    kernel_peephole_gradient: "kernel::peephole_gradient",
    kernel_sequence_dropout: "kernel::sequence_dropout",
    kernel_projection_clip: "kernel::projection_clip",
    kernel_lstm_of_every_cell: "kernel::lstm_of_every_cell",
    cells_equal_the_reference: "cells::equal_the_reference",
    cells_small_limits_change_nothing: "cells::small_limits_change_nothing",
    cells_in_every_tier: "cells::in_every_tier",
    cells_bad_ones_are_named: "cells::bad_cells_are_named",
    cells_saved_and_loaded: "cells::saved_and_loaded",
    cells_shares: "cells::shares_are_those_that_are_asked_for",
    cells_of_onnx_runtime: "cells::of_onnx_runtime",
    cells_of_tensorflow: "cells::of_tensorflow",
    cells_of_keras: "cells::of_keras",
    philox_gives_the_known_answers: "kernel::philox_gives_the_known_answers",
    every_kernel_has_a_test: "kernel::every_one_has_a_test",
    gates_are_right_far_out: "kernel::gates_are_right_far_out",
    nan_is_passed_on: "kernel::nan_is_passed_on",
    stacks_equal_the_reference: "model::stacks_equal_the_reference",
    gradients_equal_the_reference: "model::gradients_equal_the_reference",
    forecasters_take_either_layout: "model::forecasters_take_either_layout",
    training_drops_elements: "model::training_drops_elements",
    linear_equals_its_equation: "model::linear_equals_its_equation",
    training_in_lockstep: "model::training_in_lockstep",
    lockstep_finds_a_broken_kernel: "model::lockstep_finds_a_broken_kernel",
    small_limits_change_nothing: "model::small_limits_change_nothing",
    two_runs_are_bit_equal: "model::two_runs_are_bit_equal",
    a_hundred_steps_create_nothing: "model::a_hundred_steps_stay_on_the_device",
    saved_and_loaded: "model::saved_and_loaded",
    async_reads: "model::async_reads",
    every_command_has_a_time: "timing::every_command_has_a_time",
    async_every_form: "async::every_form",
    async_dropped_fits: "async::dropped_fits",
    async_panics_in_progress: "async::panics_in_progress",
    verify_every_variant: "verify::every_variant",
    verify_nothing_goes_unnoticed: "verify::nothing_goes_unnoticed",
    verify_a_broken_kernel_is_named: "verify::a_broken_kernel_is_named",
    verify_layers_at_once_are_run: "verify::layers_at_once_are_run",
    verify_models_agree: "verify::models_agree",
    verify_one_of_several: "verify::one_of_several",
    verify_a_divergence_is_named: "verify::a_divergence_is_named",
    lstm_random_configurations: "lstm::random_configurations",
    lstm_rows_without_timesteps: "lstm::rows_without_timesteps",
    lstm_rows_dont_touch: "lstm::rows_dont_touch",
    lstm_steps_are_the_sequence: "lstm::steps_are_the_sequence",
    lstm_a_thousand_sizes: "lstm::a_thousand_sizes",
    lstm_results_stay: "lstm::results_stay",
    memory_of_plans: "memory::of_plans",
    lstm_workspaces_hold_nothing_over: "lstm::workspaces_hold_nothing_over",
    lstm_unbatched: "lstm::unbatched",
    lstm_cells_equal_the_reference: "lstm::cells_equal_the_reference",
    lstm_calls_in_parallel: "lstm::calls_in_parallel",
    lstm_gradients_in_lockstep: "lstm::gradients_in_lockstep",
    lstm_small_limits_change_nothing: "lstm::small_limits_change_nothing",
    lstm_seventeen_million_parameters: "lstm::seventeen_million_parameters",
    pools_keep_streams_apart: "streams::pools_keep_streams_apart",
    streams_are_saved_and_restored: "streams::streams_are_saved_and_restored",
    pools_refuse_what_isnt_theirs: "streams::pools_refuse_what_isnt_theirs",
    a_large_pool_takes_few_launches: "streams::a_large_pool_takes_few_launches",
    example_autodiff: "examples::autodiff",
    example_sensors: "examples::sensors",
    seeds_train_by_hand: "seeds::train_by_hand",
    seeds_numpy_cell: "seeds::numpy_cell",
    seeds_classification: "seeds::classification",
    seeds_memory: "seeds::memory",
    seeds_sine: "seeds::sine",
    seeds_sine_as_written: "seeds::sine_as_written",
    seeds_gates_by_hand: "seeds::gates_by_hand",
    golden_stack_1_double: "golden::stack_1_double",
    golden_stack_1_single: "golden::stack_1_single",
    golden_stack_2_double: "golden::stack_2_double",
    golden_stack_2_single: "golden::stack_2_single",
    golden_plain_file: "golden::plain_file",
    golden_adam: "golden::adam",
    many_rows_are_predicted_in_pieces: "model::many_rows_are_predicted_in_pieces",
    two_fits_are_one: "model::two_fits_are_one",
    early_stopping_keeps_the_best: "model::early_stopping_keeps_the_best",
    predictions_in_parallel: "model::predictions_in_parallel",
    golden_grid: "golden::grid",
    golden_dropout: "golden::dropout",
    golden_half: "golden::half",
    golden_lstm_cell: "golden::lstm_cell",
    golden_toy: "golden::toy",
    golden_cell: "golden::cell",
    training_resumed_with_early_stopping: "training::resumed_with_early_stopping",
    training_resumed_with_the_best_kept: "training::resumed_with_the_best_kept",
    training_resumed_truncated: "training::resumed_truncated",
    training_resumed_accumulated: "training::resumed_accumulated",
    training_resumed_streams: "training::resumed_streams",
    training_resumed_with_a_plateau: "training::resumed_with_a_plateau",
    training_a_bad_step_is_an_error: "training::a_bad_step_is_an_error",
    training_a_bad_step_is_skipped: "training::a_bad_step_is_skipped",
    training_an_iterator_fails: "training::an_iterator_fails",
    training_bad_data_are_named: "training::bad_data_are_named",
    training_bad_settings_are_named: "training::bad_settings_are_named",
    training_bad_files_are_refused: "training::bad_files_are_refused",
    training_every_combination_equals_the_reference: "training::every_combination_equals_the_reference",
    training_gaps_and_empty_rows_in_every_tier: "training::gaps_and_empty_rows_in_every_tier",
    training_empty_rows_are_their_initial_state: "training::empty_rows_are_their_initial_state",
    training_truncation_detaches_states: "training::truncation_detaches_states",
    training_streams_detach_states: "training::streams_detach_states",
    training_accumulation_is_one_batch: "training::accumulation_is_one_batch",
    training_evaluation_takes_pieces: "training::evaluation_takes_pieces",
    training_predictions_of_lengths: "training::predictions_of_lengths",
    golden_losses: "golden::losses",
    golden_optimizers: "golden::optimizers",
    golden_schedules: "golden::schedules",
    golden_clipping: "golden::clipping",
    golden_classes_of_sequences: "golden::classes_of_sequences",
    golden_classes_of_every_step: "golden::classes_of_every_step",
    golden_values_of_every_step: "golden::values_of_every_step",
    golden_binary_with_lengths: "golden::binary_with_lengths",
    golden_truncated: "golden::truncated",
    golden_accumulated: "golden::accumulated",
    golden_embedding: "golden::embedding",
    golden_probabilities_and_classes: "golden::probabilities_and_classes",
}
