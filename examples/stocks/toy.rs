//! The worked example: an LSTM with one unit that tells two companies apart by their first day.

use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Bias, Dataset, Device, Forecaster, Init, LstmConfig, Result};

/// The prices of four days, and of the fifth. The companies differ on the first day alone, so
/// the model has to remember it.
const COMPANIES: [(&str, [f32; 4], f32); 2] =
    [("Company A", [0.0, 0.5, 0.25, 1.0], 0.0), ("Company B", [1.0, 0.5, 0.25, 1.0], 1.0)];

/// Trains for 500 epochs and prints how it went.
pub fn run(device: &Device, seed: u64) -> Result<()> {
    println!("\nTwo companies, four days, seed {seed}");
    let days = COMPANIES.iter().flat_map(|(_, days, _)| *days).collect();
    let fifth = COMPANIES.iter().map(|(_, _, fifth)| *fifth).collect();
    let data = Dataset::new(Array::new(days, &[2, 4, 1])?, Array::new(fifth, &[2, 1])?)?;

    // One unit, one bias a gate; the last hidden state is the prediction.
    let config = LstmConfig::new(1, 1)
        .bias(Bias::Single)
        .init("weight", Init::Normal { mean: 0.0, std: 1.0 })
        .init("bias", Init::Zeros)
        .seed(seed);
    let model = Forecaster::without_head(device, config)?;
    let mut trainer = Trainer::new(model, Loss::mse(), Adam::new(0.01))
        .batch_size(1)
        .epochs(500)
        .report_every(100);
    trainer.fit(&data, None, |progress| {
        if progress.epoch % 100 == 1 {
            println!("Epoch [{}/{}], Loss: {:.4}", progress.epoch, progress.epochs, progress.loss);
        }
    })?;

    println!("Predictions of the fifth day:");
    let predicted = trainer.model().predict(data.x())?;
    let mut worst = 0.0f32;
    for ((name, _, observed), predicted) in COMPANIES.iter().zip(predicted.data()) {
        println!("{name}: predicted {predicted:.4}, observed {observed:.4}");
        worst = worst.max((predicted - observed).abs());
    }
    // 0.5 for both is where training stalls when the first day is forgotten.
    if worst < 0.1 {
        println!("Converged: within {worst:.2} of both.");
    } else {
        println!("Not converged: {worst:.2} off. Other initial weights do better; try --seed.");
    }
    Ok(())
}
