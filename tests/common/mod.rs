//! What both test binaries share: checks that run on any device.

#![allow(clippy::duplicate_mod, reason = "each example brings what they share")]

pub mod alignment;
pub mod asynchronous;
pub mod cells;
pub mod classes;
pub mod endings;
pub mod examples;
pub mod faults;
pub mod golden;
pub mod heads;
pub mod kernels;
pub mod late_rows;
pub mod losses;
pub mod lstm;
pub mod memory;
pub mod models;
pub mod non_finite;
pub mod optimizers;
pub mod random;
pub mod readouts;
pub mod reports;
pub mod seeds_by_hand;
pub mod seeds_classes;
pub mod streams;
pub mod targets;
pub mod timing;
pub mod training;
pub mod training_faults;
pub mod training_golden;
pub mod training_resume;
pub mod training_step;
pub mod verify;
pub mod wavefront;

use gatefold::Device;
use gatefold::reference::{Tolerance, compare};
use gatefold::train::Trainer;

/// The same numbers in double precision.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Panics where a result is too far from the reference's.
pub fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: Tolerance) {
    if let Err(mismatch) = compare(got, want, None, tolerance) {
        panic!("{what}: {mismatch}");
    }
}

/// Parameters and moments, to the bit.
pub fn trained_bits(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let folder = tempfile::tempdir().unwrap();
    trainer.save(folder.path()).unwrap();
    let file = gatefold::checkpoint::read(folder.path().join("trainer.safetensors")).unwrap();
    let kept = |name: &str| name.starts_with("params.") || name.starts_with("moment_");
    let tensors = file.tensors.into_iter().filter(|(name, _)| kept(name));
    tensors.map(|(name, a)| (name, a.data().iter().map(|v| v.to_bits()).collect())).collect()
}

/// A check that every executor passes.
pub type Check = fn(&Device);

/// Every check that runs on any device, under its name.
pub const CHECKS: &[(&str, Check)] = &[
    ("late_rows::of_data_sets", late_rows::of_data_sets),
    ("reports::each_has_its_own_time", reports::each_has_its_own_time),
    ("reports::saves_have_their_time", reports::saves_have_their_time),
    ("reports::progress_has_the_model", reports::progress_has_the_model),
    ("reports::runs_go_on_or_begin", reports::runs_go_on_or_begin),
    ("non_finite::in_data", non_finite::in_data),
    ("non_finite::in_weights", non_finite::in_weights),
    ("non_finite::in_gradients", non_finite::in_gradients),
    ("non_finite::behind_the_end", non_finite::behind_the_end),
    ("faults::a_batch_too_large", faults::a_batch_too_large),
    ("faults::any_allocation_may_fail", faults::any_allocation_may_fail),
    ("kernel::matmul", kernels::matmul),
    ("kernel::lstm_step_forward", kernels::lstm_step_forward),
    ("kernel::lstm_step_backward", kernels::lstm_step_backward),
    ("kernel::pack_panels", kernels::pack_panels),
    ("kernel::lstm_sequence_forward", kernels::lstm_sequence_forward),
    ("kernel::lstm_sequence_backward", kernels::lstm_sequence_backward),
    ("kernel::lstm_step_forward_of_layers", wavefront::forward),
    ("kernel::lstm_step_backward_of_layers", wavefront::backward),
    ("kernel::column_sum", kernels::column_sum),
    ("kernel::reduce_sum", kernels::reduce_sum),
    ("kernel::pointwise_loss", losses::pointwise_loss),
    ("kernel::cross_entropy_loss", losses::cross_entropy_loss),
    ("kernel::adam", optimizers::adam),
    ("kernel::sgd", optimizers::sgd),
    ("kernel::rmsprop", optimizers::rmsprop),
    ("kernel::gradient_norm", optimizers::gradient_norm),
    ("kernel::clip_scale", optimizers::clip_scale),
    ("kernel::training_step", training_step::training_step),
    ("optimizer::bad_gradients_under_each_policy", optimizers::bad_gradients_under_each_policy),
    ("kernel::copy_sequence", kernels::copy_sequence),
    ("kernel::copy_at_length", kernels::copy_at_length),
    ("kernel::pool_over_time", readouts::pool_over_time),
    ("kernel::pool_over_time_backward", readouts::pool_over_time_backward),
    ("readout::of_both_directions", readouts::of_both_directions),
    ("readout::older_files_keep_their_meaning", readouts::older_files_keep_their_meaning),
    ("readout::long_sequences_are_pooled_in_pieces", readouts::long_sequences_are_pooled_in_pieces),
    ("kernel::dropout", kernels::dropout),
    ("kernel::embedding", classes::embedding),
    ("kernel::embedding_backward", classes::embedding_backward),
    ("kernel::one_hot", classes::one_hot),
    ("kernel::softmax", classes::softmax),
    ("kernel::argmax", classes::argmax),
    ("kernel::accuracy", classes::accuracy),
    ("kernel::nonlinearity", classes::nonlinearity),
    ("kernel::nonlinearity_backward", classes::nonlinearity_backward),
    ("kernel::align_sequence", alignment::align_sequence),
    ("alignment::late_rows_and_reverse_layers", alignment::late_rows_and_reverse_layers),
    ("alignment::rows_are_moved_in_pieces", alignment::rows_are_moved_in_pieces),
    ("alignment::what_needs_the_end_is_refused", alignment::what_needs_the_end_is_refused),
    ("heads::equal_the_reference", heads::equal_the_reference),
    ("heads::tied_weights", heads::tied_weights),
    ("heads::of_pytorch", heads::of_pytorch),
    ("heads::bad_names_and_heads", heads::bad_names_and_heads),
    ("heads::gradients_drop_nothing", heads::gradients_drop_nothing),
    ("heads::in_pieces", heads::in_pieces),
    ("heads::streams_answer_with_predictions", heads::streams_answer_with_predictions),
    ("kernel::binary_accuracy", classes::binary_accuracy),
    ("losses::weights_of_one_change_no_bit", losses::weights_of_one_change_no_bit),
    ("kernel::peephole_gradient", cells::peephole_gradient),
    ("kernel::sequence_dropout", cells::sequence_dropout),
    ("kernel::projection_clip", cells::projection_clip),
    ("kernel::lstm_of_every_cell", cells::kernels),
    ("cells::equal_the_reference", cells::equal_the_reference),
    ("cells::small_limits_change_nothing", cells::small_limits_change_nothing),
    ("cells::in_every_tier", cells::in_every_tier),
    ("cells::bad_cells_are_named", cells::bad_cells_are_named),
    ("cells::saved_and_loaded", cells::saved_and_loaded),
    ("cells::shares_are_those_that_are_asked_for", cells::shares_are_those_that_are_asked_for),
    ("cells::of_onnx_runtime", cells::of_onnx_runtime),
    ("cells::of_tensorflow", cells::of_tensorflow),
    ("cells::of_keras", cells::of_keras),
    ("kernel::philox_gives_the_known_answers", kernels::philox_gives_the_known_answers),
    ("kernel::every_one_has_a_test", kernels::every_one_has_a_test),
    ("kernel::gates_are_right_far_out", kernels::gates_are_right_far_out),
    ("kernel::nan_is_passed_on", kernels::nan_is_passed_on),
    ("training_step::one_launch_equals_many", training_step::one_launch_equals_many),
    ("model::stacks_equal_the_reference", models::stacks_equal_the_reference),
    ("model::gradients_equal_the_reference", models::gradients_equal_the_reference),
    ("model::forecasters_take_either_layout", models::forecasters_take_either_layout),
    ("model::training_drops_elements", models::training_drops_elements),
    ("model::linear_equals_its_equation", models::linear_equals_its_equation),
    ("model::training_in_lockstep", models::training_in_lockstep),
    ("model::lockstep_finds_a_broken_kernel", models::lockstep_finds_a_broken_kernel),
    ("model::small_limits_change_nothing", models::small_limits_change_nothing),
    ("model::two_runs_are_bit_equal", models::two_runs_are_bit_equal),
    ("model::a_hundred_steps_stay_on_the_device", models::a_hundred_steps_stay_on_the_device),
    ("model::saved_and_loaded", models::saved_and_loaded),
    ("model::many_rows_are_predicted_in_pieces", models::many_rows_are_predicted_in_pieces),
    ("model::two_fits_are_one", models::two_fits_are_one),
    ("model::early_stopping_keeps_the_best", models::early_stopping_keeps_the_best),
    ("model::predictions_in_parallel", models::predictions_in_parallel),
    ("model::async_reads", models::async_reads),
    ("timing::every_command_has_a_time", timing::every_command_has_a_time),
    ("async::every_form", asynchronous::every_form),
    ("async::dropped_fits", asynchronous::dropped_fits),
    ("async::panics_in_progress", asynchronous::panics_in_progress),
    ("lstm::random_configurations", lstm::random_configurations),
    ("lstm::rows_without_timesteps", lstm::rows_without_timesteps),
    ("lstm::rows_dont_touch", lstm::rows_dont_touch),
    ("lstm::steps_are_the_sequence", lstm::steps_are_the_sequence),
    ("lstm::a_thousand_sizes", lstm::a_thousand_sizes),
    ("lstm::results_stay", lstm::results_stay),
    ("wavefront::training_steps", wavefront::training_steps),
    ("wavefront::stacks_equal_the_reference", wavefront::stacks_equal_the_reference),
    ("memory::of_plans", memory::of_plans),
    ("memory::idle_workspaces_are_given_up", memory::idle_workspaces_are_given_up),
    ("lstm::calls_beside_replaced_parameters", lstm::calls_beside_replaced_parameters),
    ("lstm::workspaces_hold_nothing_over", lstm::workspaces_hold_nothing_over),
    ("lstm::unbatched", lstm::unbatched),
    ("lstm::cells_equal_the_reference", lstm::cells_equal_the_reference),
    ("lstm::calls_in_parallel", lstm::calls_in_parallel),
    ("lstm::gradients_in_lockstep", lstm::gradients_in_lockstep),
    ("lstm::small_limits_change_nothing", lstm::small_limits_change_nothing),
    ("lstm::seventeen_million_parameters", lstm::seventeen_million_parameters),
    ("streams::pools_keep_streams_apart", streams::pools_keep_streams_apart),
    ("streams::streams_are_saved_and_restored", streams::streams_are_saved_and_restored),
    ("streams::pools_refuse_what_isnt_theirs", streams::pools_refuse_what_isnt_theirs),
    ("streams::a_large_pool_takes_few_launches", streams::a_large_pool_takes_few_launches),
    ("examples::autodiff", examples::autodiff),
    ("examples::sensors", examples::sensors),
    ("seeds::train_by_hand", seeds_by_hand::train_by_hand),
    ("seeds::numpy_cell", seeds_by_hand::numpy_cell),
    ("seeds::classification", seeds_classes::classification),
    ("seeds::memory", seeds_classes::memory),
    ("seeds::sine", seeds_classes::sine),
    ("seeds::sine_as_written", seeds_classes::sine_as_written),
    ("seeds::gates_by_hand", seeds_classes::gates_by_hand),
    ("verify::every_variant", verify::every_variant),
    ("verify::nothing_goes_unnoticed", verify::nothing_goes_unnoticed),
    ("verify::a_broken_kernel_is_named", verify::a_broken_kernel_is_named),
    ("verify::layers_at_once_are_run", verify::layers_at_once_are_run),
    ("verify::models_agree", verify::models_agree),
    ("verify::one_of_several", verify::one_of_several),
    ("verify::a_divergence_is_named", verify::a_divergence_is_named),
    ("golden::stack_1_double", |d| golden::stack(d, "stack_1_double")),
    ("golden::stack_1_single", |d| golden::stack(d, "stack_1_single")),
    ("golden::stack_2_double", |d| golden::stack(d, "stack_2_double")),
    ("golden::stack_2_single", |d| golden::stack(d, "stack_2_single")),
    ("golden::plain_file", golden::plain_file),
    ("golden::adam", golden::adam),
    ("golden::grid", golden::grid),
    ("golden::dropout", golden::dropout),
    ("golden::half", golden::half),
    ("golden::lstm_cell", golden::lstm_cell),
    ("golden::toy", golden::toy),
    ("golden::cell", golden::cell),
    ("training::resumed_with_early_stopping", training_resume::resumed_with_early_stopping),
    ("training::resumed_with_the_best_kept", training_resume::resumed_with_the_best_kept),
    ("training::resumed_truncated", training_resume::resumed_truncated),
    ("training::resumed_accumulated", training_resume::resumed_accumulated),
    ("training::resumed_streams", training_resume::resumed_streams),
    ("training::resumed_with_a_plateau", training_resume::resumed_with_a_plateau),
    ("training::a_bad_step_is_an_error", training_faults::a_bad_step_is_an_error),
    ("training::a_bad_step_is_skipped", training_faults::a_bad_step_is_skipped),
    ("training::an_iterator_fails", training_faults::an_iterator_fails),
    ("training::bad_data_are_named", training_faults::bad_data_are_named),
    ("training::bad_settings_are_named", training_faults::bad_settings_are_named),
    ("training::bad_files_are_refused", training_faults::bad_files_are_refused),
    (
        "training::every_combination_equals_the_reference",
        training::every_combination_equals_the_reference,
    ),
    ("training::truncation_detaches_states", training::truncation_detaches_states),
    ("training::gaps_and_empty_rows_in_every_tier", training::gaps_and_empty_rows_in_every_tier),
    ("training::empty_rows_are_their_initial_state", training::empty_rows_are_their_initial_state),
    ("training::streams_detach_states", training::streams_detach_states),
    ("training::accumulation_is_one_batch", training::accumulation_is_one_batch),
    ("training::evaluation_takes_pieces", training::evaluation_takes_pieces),
    ("training::predictions_of_lengths", training::predictions_of_lengths),
    ("targets::gaps_reach_nothing", targets::gaps_reach_nothing),
    ("targets::weights_of_one_are_none", targets::weights_of_one_are_none),
    ("targets::weights_are_repetitions", targets::weights_are_repetitions),
    ("targets::weights_come_by_every_way", targets::weights_come_by_every_way),
    ("targets::bad_weights_and_targets_are_named", targets::bad_weights_and_targets_are_named),
    ("targets::nothing_counts", targets::nothing_counts),
    ("targets::one_logit", targets::one_logit),
    ("targets::several_questions", targets::several_questions),
    ("endings::the_best_is_left", endings::the_best_is_left),
    (
        "endings::another_run_begins_with_what_is_left",
        endings::another_run_begins_with_what_is_left,
    ),
    ("endings::nan_is_never_best", endings::nan_is_never_best),
    ("endings::the_last_step_is_the_end", endings::the_last_step_is_the_end),
    ("golden::losses", training_golden::losses),
    ("golden::optimizers", training_golden::optimizers),
    ("golden::schedules", training_golden::schedules),
    ("golden::clipping", training_golden::clipping),
    ("golden::classes_of_sequences", training_golden::classes_of_sequences),
    ("golden::classes_of_every_step", training_golden::classes_of_every_step),
    ("golden::values_of_every_step", training_golden::values_of_every_step),
    ("golden::binary_with_lengths", training_golden::binary_with_lengths),
    ("golden::truncated", training_golden::truncated),
    ("golden::accumulated", training_golden::accumulated),
    ("golden::embedding", training_golden::embedding),
    ("golden::probabilities_and_classes", training_golden::probabilities_and_classes),
];
