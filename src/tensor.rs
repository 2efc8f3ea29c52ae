//! Numbers with a shape: [`Array`] on the host, [`Tensor`] on a device.

use std::fmt;
use std::ops::Deref;

use crate::device::{Buffer, Device};
use crate::error::{Error, Result, elements};

/// Numbers on the host, row-major: of `f32`, or, where they are classes or tokens, of `u32`.
///
/// ```
/// use gatefold::Array;
/// let x = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
/// assert_eq!(x.shape(), [2, 3]);
/// assert!(Array::new(vec![1.0], &[2, 3]).is_err());
/// let tokens = Array::integers(vec![3, 1, 4, 1, 5, 9], &[2, 3])?;
/// assert_eq!(tokens.data()[4], 5);
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T = f32> {
    data: Elements<T>,
    shape: Vec<usize>,
}

/// Elements, or the bytes of a file that are such as they stand: a copy of them takes as long as to read them.
enum Elements<T> {
    Own(Vec<T>),
    #[cfg(feature = "import-pytorch")]
    Bytes(Vec<u8>, fn(&[u8]) -> &[T]),
}

impl<T> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Elements::Own(elements) => elements,
            #[cfg(feature = "import-pytorch")]
            Elements::Bytes(bytes, as_elements) => as_elements(bytes),
        }
    }
}

impl<T: Clone> Clone for Elements<T> {
    fn clone(&self) -> Elements<T> {
        // Of other bytes nobody knows whether they are aligned.
        Elements::Own(self.to_vec())
    }
}

impl<T: fmt::Debug> fmt::Debug for Elements<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Elements<T> {
    fn eq(&self, other: &Elements<T>) -> bool {
        **self == **other
    }
}

impl Array {
    /// Takes `data` in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] where the number of elements differs; [`Error::Value`] for a zero size.
    pub fn new(data: Vec<f32>, shape: &[usize]) -> Result<Array> {
        Array::checked("Array::new", data, shape)
    }

    /// Takes the bytes of elements in this machine's order, as they are where they are aligned.
    #[cfg(feature = "import-pytorch")]
    pub(crate) fn of_bytes(bytes: Vec<u8>, shape: &[usize]) -> Result<Array> {
        let data = match bytemuck::try_cast_slice::<u8, f32>(&bytes) {
            Ok(_) => Elements::Bytes(bytes, bytemuck::cast_slice),
            Err(_) => Elements::Own(bytemuck::pod_collect_to_vec(&bytes)),
        };
        check("Array::of_bytes", data.len(), shape)?;
        Ok(Array { data, shape: shape.to_vec() })
    }
}

impl Array<u32> {
    /// Takes whole numbers, such as classes and tokens, in row-major order.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn integers(data: Vec<u32>, shape: &[usize]) -> Result<Array<u32>> {
        Array::checked("Array::integers", data, shape)
    }
}

impl<T> Array<T> {
    pub(crate) fn checked(
        operation: &'static str,
        data: Vec<T>,
        shape: &[usize],
    ) -> Result<Array<T>> {
        check(operation, data.len(), shape)?;
        Ok(Array { data: Elements::Own(data), shape: shape.to_vec() })
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// Some of its rows, at least one, which are all there: what lies behind the first size.
    pub(crate) fn rows(&self, rows: &[usize]) -> Array<T>
    where
        T: Copy,
    {
        let width = self.data.len() / self.shape[0];
        let row = |&row: &usize| &self.data[row * width..][..width];
        let data = Elements::Own(rows.iter().flat_map(row).copied().collect());
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Array { data, shape }
    }

    /// The sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn into_data(self) -> Vec<T>
    where
        T: Clone,
    {
        match self.data {
            Elements::Own(data) => data,
            #[cfg(feature = "import-pytorch")]
            Elements::Bytes(bytes, as_elements) => as_elements(&bytes).to_vec(),
        }
    }
}

/// Numbers on a device, row-major; its clones share them.
#[derive(Clone, Debug)]
pub struct Tensor {
    device: Device,
    buffer: Buffer,
    /// Where they start in it; 0 on a GPU.
    start: usize,
    shape: Vec<usize>,
}

impl Tensor {
    /// Zeros.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero size, [`Error::Overflow`], [`Error::OutOfMemory`].
    pub fn zeros(device: &Device, shape: &[usize]) -> Result<Tensor> {
        let len = elements("Tensor::zeros", "shape", shape)?;
        let buffer = device.create_buffer("tensor", len)?;
        Ok(Tensor { device: device.clone(), buffer, start: 0, shape: shape.to_vec() })
    }

    /// Copies `data`, row-major, to the device.
    ///
    /// # Errors
    /// [`Error::Shape`] where the number of elements differs; as [`Tensor::zeros`].
    pub fn from_slice(device: &Device, data: &[f32], shape: &[usize]) -> Result<Tensor> {
        check("Tensor::from_slice", data.len(), shape)?;
        let tensor = Tensor::zeros(device, shape)?;
        device.write(&tensor.buffer, 0, data)?;
        Ok(tensor)
    }

    /// Writes its elements anew, row-major, in their place among what is submitted: calls before see the old
    /// ones. Clones are the same tensor.
    ///
    /// ```
    /// use gatefold::{Device, Lstm, LstmConfig, StreamPool, Tensor};
    /// let device = Device::cpu();
    /// let mut pool = StreamPool::new(&Lstm::new(&device, LstmConfig::new(2, 4))?, 1)?;
    /// let (stream, x) = (pool.join()?, Tensor::zeros(&device, &[1, 2])?);
    /// for input in [[0.1, 0.2], [0.3, 0.4]] {
    ///     x.write(&input)?; // nothing is created
    ///     pool.step(&x, &[stream])?;
    /// }
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements, [`Error::Gpu`].
    pub fn write(&self, data: &[f32]) -> Result<()> {
        check("Tensor::write", data.len(), &self.shape)?;
        self.device.write(&self.buffer, self.start, data)
    }

    /// The elements, once everything that was submitted before is done.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        self.device.read(&self.buffer, self.start, self.len())
    }

    /// The asynchronous form of [`to_vec`](Self::to_vec): the future polls a GPU of our own, a
    /// caller's GPU is polled by the caller (see [who polls](Device#who-polls)).
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub async fn to_vec_async(&self) -> Result<Vec<f32>> {
        self.device.read_async(&self.buffer, self.start, self.len()).await
    }

    /// A copy with a buffer of its own, on the same device. Nothing is read back.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn duplicate(&self) -> Result<Tensor> {
        let copy = Tensor::zeros(&self.device, &self.shape)?;
        let mut recorder = self.device.recorder();
        recorder.copy(self.at(), copy.at(), self.len());
        recorder.submit()?;
        Ok(copy)
    }

    /// Whether both are the same numbers on the device, as clones are.
    pub fn shares(&self, other: &Tensor) -> bool {
        self.buffer.is(&other.buffer)
    }

    /// The sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements.
    #[allow(clippy::len_without_is_empty, reason = "a tensor has no zero size")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The buffer as wgpu knows it, for passes of the caller's own; `None` on the CPU. It is usable
    /// as storage and for copies both ways, and its first [`len`](Self::len) f32 are the elements.
    #[cfg(feature = "gpu")]
    pub fn as_wgpu(&self) -> Option<&wgpu::Buffer> {
        self.buffer.as_wgpu()
    }

    /// A tensor over a buffer that something else keeps.
    pub(crate) fn over(device: &Device, buffer: &Buffer, shape: &[usize]) -> Tensor {
        Tensor::part(device, (buffer, 0), shape)
    }

    /// As [`over`](Self::over), from some element on.
    pub(crate) fn part(
        device: &Device,
        (buffer, start): (&Buffer, usize),
        shape: &[usize],
    ) -> Tensor {
        let (device, buffer) = (device.clone(), buffer.clone());
        Tensor { device, buffer, start, shape: shape.to_vec() }
    }

    /// Where its elements are.
    pub(crate) fn at(&self) -> (&Buffer, usize) {
        (&self.buffer, self.start)
    }

    /// Where those from some element on are.
    pub(crate) fn from(&self, element: usize) -> (&Buffer, usize) {
        (&self.buffer, self.start + element)
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Checks device and shape; `None` in `expected` is a free size.
    pub(crate) fn expect(
        &self,
        operation: &'static str,
        name: &str,
        device: &Device,
        expected: &[(&str, Option<usize>)],
    ) -> Result<()> {
        if !self.device.is(device) {
            return Err(Error::OtherDevice { operation, tensor: name.to_owned() });
        }
        expect_shape(operation, name, &self.shape, expected)
    }
}

/// Checks a shape; `None` in `expected` is a free size.
pub(crate) fn expect_shape(
    operation: &'static str,
    name: &str,
    shape: &[usize],
    expected: &[(&str, Option<usize>)],
) -> Result<()> {
    let fits =
        |(size, (_, wanted)): (&usize, &(&str, Option<usize>))| wanted.is_none_or(|w| w == *size);
    if shape.len() == expected.len() && shape.iter().zip(expected).all(fits) {
        return Ok(());
    }
    let dims = expected.iter().map(|(dim, size)| match size {
        Some(size) => format!("{dim} = {size}"),
        None => (*dim).to_owned(),
    });
    Err(Error::Shape {
        operation,
        tensor: name.to_owned(),
        expected: format!("[{}]", dims.collect::<Vec<_>>().join(", ")),
        got: format!("{shape:?}"),
    })
}

fn check(operation: &'static str, len: usize, shape: &[usize]) -> Result<()> {
    if elements(operation, "shape", shape)? == len {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        tensor: "data".to_owned(),
        expected: format!("{shape:?}"),
        got: format!("{len} elements"),
    })
}
