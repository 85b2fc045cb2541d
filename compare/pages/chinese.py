"""The generated table of docs/porting-traps.zh-CN.md: what its cells and sentences are in Chinese.

A cell that is not here stays English; tests/cross/test_docs.py finds it.
"""

from __future__ import annotations

import re

# Whole cells.
CELLS = {
    "trap": "陷阱",
    "error, and ours": "误差；我们的误差",
    "outputs": "输出",
    "running mean": "滑动均值",
    "running variance, n = 36": "滑动方差，n = 36",
    "outputs, n = 36": "输出，n = 36",
    "images of the same noise in a batch of 4 and of 8": "同一噪声在 4 个和 8 个的批次里的图像",
    "images in the next training step": "下一个训练步的图像",
    "outputs in training": "训练时的输出",
    "outputs for the real half": "真图像那一半的输出",
    "first update, gradients of 1e-6": "第一次更新，梯度为 1e-6",
    "20 updates, gradients of 1e-6": "20 次更新，梯度为 1e-6",
    "G's first update": "G 的第一次更新",
    "what 10 Adam steps change": "10 个 Adam 步的变化",
    "outputs for x < 0": "x < 0 的输出",
    "derivative at 0": "0 处的导数",
    "gradients": "梯度",
    "D's gradient on a digit's image": "D 在一张数字图像上的梯度",
    "outputs, kernel 5": "输出，核为 5",
    "outputs, kernel 5; ours: 4": "输出，核为 5；我们的：4",
    "outputs of norm2": "norm2 的输出",
    "images (8, 28, 28, 3)": "图像 (8, 28, 28, 3)",
    "scaled images": "缩放后的图像",
    "largest weight": "最大的权重",
    "largest weight, 96 -> 1024": "最大的权重，96 -> 1024",
    "noise of the second step": "第二步的噪声",
    "loss": "损失",
    "gradients of the logits": "logits 的梯度",
    "loss at logits of 30": "logits 为 30 时的损失",
    "G's gradients": "G 的梯度",
    "D's gradients": "D 的梯度",
    "G's gradients after an update of D": "D 更新之后 G 的梯度",
    "outputs of batch norm": "批归一化的输出",
    "steps counted by G's optimizer": "G 的优化器数到的步数",
    "metrics of two steps at once": "两步合在一起的指标",
    "`layers.BatchNorm(128, momentum=0.8, ...)`; epsilon is a constant, 1e-5": "`layers.BatchNorm(128, momentum=0.8, ...)`；epsilon 是常数 1e-5",
    "`eps=1e-5`, its default": "`eps=1e-5`，它的默认值",
    "its own": "本来如此",
    "`n / (n - 1)` times `tf.nn.moments`'s": "`tf.nn.moments` 的方差乘以 `n / (n - 1)`",
    "a subclass: `keras_impl/layers.py`": "子类：`keras_impl/layers.py`",
    "normalise with `tf.nn.moments`; keep the unbiased one for evaluation": "用 `tf.nn.moments` 归一化；无偏方差留给评估",
    "its own for the outputs": "输出本来就对",
    "NCHW, its own order": "NCHW，它自己的顺序",
    "NHWC: moments over `(0, 1, 2)`": "NHWC：在 `(0, 1, 2)` 上求矩",
    "NHWC, or `axis=1` for NCHW": "NHWC，NCHW 则用 `axis=1`",
    "`G.eval()` before sampling": "抽样之前 `G.eval()`",
    "`G(z, training=False)`, or `predict`": "`G(z, training=False)`，或 `predict`",
    "`G.train()` after sampling": "抽样之后 `G.train()`",
    "`training` is an argument of each call": "`training` 是每次调用的参数",
    "`requires_grad_(False)`, which is only that": "`requires_grad_(False)`，它只做这一件事",
    "`tape.gradient(loss, parameters)` of the wanted ones": "只对需要的变量 `tape.gradient(loss, parameters)`",
    "leave the flag; take the gradients of the wanted variables alone": "不动这个标志；只取需要的变量的梯度",
    "the same": "相同",
    "two calls of D wherever it has batch norm: `judge` in `step.py`": "凡是 D 里有批归一化，就调用 D 两次：`step.py` 里的 `judge`",
    "D stays in training mode for G's update": "更新 G 时 D 也留在训练模式",
    "`D(fake, training=True)` for G's update": "更新 G 时用 `D(fake, training=True)`",
    "`requires_grad_(False)` leaves D's weights alone, and its mode too": "`requires_grad_(False)` 不动 D 的权重，也不动它的模式",
    "`tape.gradient(loss, g_parameters)`, with `D(fake, training=True)`": "`tape.gradient(loss, g_parameters)`，配合 `D(fake, training=True)`",
    "the gradient of the images, with `D(fake, training=True)`": "对图像求梯度，配合 `D(fake, training=True)`",
    "its own: n / (n - 1), n = 32": "本来如此：n / (n - 1)，n = 32",
    "D's running mean after an iteration": "一次迭代之后 D 的滑动均值",
    "running variance, 2 images of 4x4": "滑动方差，2 张 4x4 的图",
    "`epsilon * tf.sqrt(1 - beta2**t)` in `tf.raw_ops.ResourceApplyAdam`": "在 `tf.raw_ops.ResourceApplyAdam` 中用 `epsilon * tf.sqrt(1 - beta2**t)`",
    "a subclass whose epsilon is multiplied by `sqrt(1 - beta2**t)`": "子类，epsilon 乘以 `sqrt(1 - beta2**t)`",
    "compute it from the step's count, inside the graph": "在计算图内由步数算出",
    "compute it from `self.iterations` in `update_step`": "在 `update_step` 中由 `self.iterations` 算出",
    "`eps=1e-8`, its default": "`eps=1e-8`，它的默认值",
    "an optimizer for each network": "每个网络一个优化器",
    "`torch.autocast`, not `model.bfloat16()`": "`torch.autocast`，不是 `model.bfloat16()`",
    "float32 variables, `tf.cast` in the layer": "变量用 float32，在层里 `tf.cast`",
    "policy `mixed_bfloat16`, not `bfloat16`": "策略 `mixed_bfloat16`，不是 `bfloat16`",
    "a Python number: it takes the tensor's dtype": "Python 数字：它取张量的 dtype",
    "the Python number itself: `x * 0.999`": "Python 数字本身：`x * 0.999`",
    "`tf.nn.leaky_relu`, which agrees at 0": "`tf.nn.leaky_relu`，在 0 处一致",
    "`nn.MaxPool2d(2)`, then `nn.LeakyReLU(0.01)`: a quarter of the work": "先 `nn.MaxPool2d(2)`，再 `nn.LeakyReLU(0.01)`：四分之一的运算量",
    "the penalty half a grey level beside the image: `real + state.jitter`": "在图像旁边半个灰度级处求惩罚：`real + state.jitter`",
    "`padding=2`, or F.pad (1, 2, 1, 2) to be like TensorFlow": "`padding=2`；要和 TensorFlow 一样则 F.pad (1, 2, 1, 2)",
    "`ZeroPadding2D(2)`, then `padding='valid'`": "先 `ZeroPadding2D(2)`，再 `padding='valid'`",
    "`conv2d_transpose(..., strides=2, padding='SAME')` with a kernel of 4": "卷积核为 4 的 `conv2d_transpose(..., strides=2, padding='SAME')`",
    "`kernel.transpose(3, 2, 0, 1)` from TensorFlow's": "从 TensorFlow 的得到：`kernel.transpose(3, 2, 0, 1)`",
    "`weight.transpose(2, 3, 1, 0)` from PyTorch's": "从 PyTorch 的得到：`weight.transpose(2, 3, 1, 0)`",
    "the same as TensorFlow": "与 TensorFlow 相同",
    "`kernel.T` from the others'": "从其他框架的得到：`kernel.T`",
    "`weight.T` from PyTorch's": "从 PyTorch 的得到：`weight.T`",
    "rows reordered: `pytorch_impl/canonical.py`": "行换位：`pytorch_impl/canonical.py`",
    "`tf.transpose(x, (0, 3, 1, 2))` before the reshape, or rows reordered": "reshape 之前 `tf.transpose(x, (0, 3, 1, 2))`，或者行换位",
    "`Permute((3, 1, 2))` before `Flatten`, or rows reordered": "`Flatten` 之前 `Permute((3, 1, 2))`，或者行换位",
    "scale, offset and both running statistics reordered": "scale、offset 和两个滑动统计量都换位",
    "`tf.transpose(x, (0, 3, 1, 2))`, not `tf.reshape`": "`tf.transpose(x, (0, 3, 1, 2))`，不是 `tf.reshape`",
    "its own: 1 / sqrt(out x 16)": "本来如此：1 / sqrt(out x 16)",
    "uniform, bound 1 / sqrt(out x 16)": "均匀分布，界为 1 / sqrt(out x 16)",
    "`RandomUniform(-b, b)`, b = 1 / sqrt(out x 16)": "`RandomUniform(-b, b)`，b = 1 / sqrt(out x 16)",
    "uniform, bound 1 / sqrt(in), biases too": "均匀分布，界为 1 / sqrt(in)，偏置也一样",
    "`kernel_initializer` and `bias_initializer=RandomUniform(-b, b)`": "`kernel_initializer` 和 `bias_initializer=RandomUniform(-b, b)`",
    "`state_dict()`, by name": "`state_dict()`，按名称",
    "a mapping by name: `tensorflow_impl/canonical.py`": "按名称映射：`tensorflow_impl/canonical.py`",
    "noise is an argument of the step": "噪声是这一步的参数",
    "noise is an argument of the `tf.function`": "噪声是 `tf.function` 的参数",
    "noise comes with the batch": "噪声随批次一起来",
    "`torch.ones_like(logits)`; `F.binary_cross_entropy_with_logits` refuses the shapes": "`torch.ones_like(logits)`；`F.binary_cross_entropy_with_logits` 会拒绝这样的形状",
    "`binary_cross_entropy_with_logits` and a D without sigmoid": "`binary_cross_entropy_with_logits`，D 不带 sigmoid",
    "`tf.nn.sigmoid_cross_entropy_with_logits` and a D without sigmoid": "`tf.nn.sigmoid_cross_entropy_with_logits`，D 不带 sigmoid",
    "`from_logits=True` and a D without sigmoid": "`from_logits=True`，D 不带 sigmoid",
    "`BCEWithLogitsLoss`; `BCELoss` refuses values outside [0, 1]": "`BCEWithLogitsLoss`；`BCELoss` 会拒绝 [0, 1] 之外的值",
    "`D(fake.detach())` in D's update": "更新 D 时 `D(fake.detach())`",
    "the gradients of D's variables alone": "只取 D 的变量的梯度",
    "`D.requires_grad_(False)` for G's loss, or `zero_grad` before every backward": "求 G 的损失时 `D.requires_grad_(False)`，或每次 backward 之前 `zero_grad`",
    "the gradients of G's variables alone": "只取 G 的变量的梯度",
    "`fake.detach()` in D's update; not `retain_graph=True`, which hides it": "更新 D 时 `fake.detach()`；不要用 `retain_graph=True`，它只是掩盖",
    "a tape for each loss: one tape gives gradients once": "每个损失一个 tape：一个 tape 只给一次梯度",
    "on TensorFlow a tape, on JAX a function for each loss": "在 TensorFlow 上每个损失一个 tape，在 JAX 上每个损失一个函数",
    "`D(fake)` again after `d_optimizer.step()`": "`d_optimizer.step()` 之后再调用一次 `D(fake)`",
    "the same, recorded after D's update": "相同，在 D 更新之后记录",
    "nothing to do": "无需处理",
    "one optimizer that owns both: `BothOptimizers` in `keras_impl/model.py`": "一个同时拥有两者的优化器：`keras_impl/model.py` 的 `BothOptimizers`",
    "a loop over the steps, read once: `train_chunk`": "逐步循环，一次读出：`train_chunk`",
    "`train_chunk`, or `fit` with one step an execution": "`train_chunk`，或者每次执行一步的 `fit`",
}

# Porting traps by name: the name, and what goes wrong.
TRAPS = {
    "`BatchNorm2d(128, 0.8)`": (
        "`BatchNorm2d(128, 0.8)`",
        "0.8 本想作为动量（momentum），但第二个参数是 eps",
    ),
    "batch norm's momentum": (
        "批归一化的动量",
        "PyTorch 的 0.1 是新值的权重，Keras 的 momentum 是旧值的权重",
    ),
    "batch norm's epsilon": ("批归一化的 epsilon", "Keras 默认 1e-3，PyTorch 默认 1e-5"),
    "batch norm's running variance": (
        "批归一化的滑动方差",
        "Keras 保留有偏方差，PyTorch 保留它的 n / (n - 1) 倍",
    ),
    "TensorFlow's fused batch norm": (
        "TensorFlow 的融合批归一化",
        "它返回的方差是无偏的，归一化批次时用的却是有偏的",
    ),
    "batch norm's axis": (
        "批归一化的轴",
        "数据为通道在前时，Keras 默认的轴 -1 归一化的是列而不是通道",
    ),
    "evaluation mode forgotten": (
        "忘了切换到评估模式",
        "用批次统计量时，一张图像取决于和它一起生成的其他图像",
    ),
    "evaluation mode not left": ("忘了离开评估模式", "第一次抽样之后，训练继续用滑动统计量"),
    "`trainable = False` and batch norm": (
        "`trainable = False` 与批归一化",
        "本意是让某层不被更新；在 Keras 里它同时让批归一化进入评估模式",
    ),
    "G run once instead of twice": (
        "G 只运行一次而不是两次",
        "教程的循环每次迭代更新 G 的滑动统计量两次；省掉一次运行就少更新一次",
    ),
    "real and fake in one batch": (
        "真假图像放进一个批次",
        "D 只调用一次更快；但 D 里的批归一化会混合两者的统计量",
    ),
    "D's running statistics in G's update": (
        "更新 G 时 D 的滑动统计量",
        "朴素的循环每次迭代更新它们三次：真图像、假图像，以及更新 G 时的同一批假图像",
    ),
    "D in evaluation mode in G's update": (
        "更新 G 时 D 处于评估模式",
        "本意是不动 D；结果 G 面对的函数不是 D 训练时的那一个",
    ),
    "running variance of 4x4 maps": (
        "4x4 特征图的滑动方差",
        "批次和特征图越小，有偏和无偏的方差相差越大",
    ),
    "where Adam's epsilon stands": (
        "Adam 的 epsilon 加在哪里",
        "Keras 加在偏差校正之前，PyTorch 和论文的算法 1 加在之后",
    ),
    "an Adam epsilon fitted once": (
        "Adam 的 epsilon 只校准一次",
        "按第一步缩放到一致，后面的步就不对了：它必须随步数变化",
    ),
    "Adam's default epsilon": ("Adam 的默认 epsilon", "Keras 是 1e-7，PyTorch 和论文是 1e-8"),
    "one Adam for both networks": (
        "两个网络共用一个 Adam",
        "先更新 D 再更新 G，计数每次迭代走两步，偏差校正就错了",
    ),
    "weights in bfloat16": (
        "权重用 bfloat16",
        "小于权重 1/512 的更新会被舍入掉；bfloat16 是给运算用的",
    ),
    "LeakyReLU's default slope": (
        "LeakyReLU 的默认斜率",
        "PyTorch 0.01，TensorFlow 0.2，Keras 0.3",
    ),
    "`tf.nn.leaky_relu` in float64": ("float64 下的 `tf.nn.leaky_relu`", "内核把斜率存成 float32"),
    "casting a Python number to float64": (
        "把 Python 数字转换为 float64",
        "`tf.cast(0.999, tf.float64)` 和 `keras.ops.cast` 中途经过 float32",
    ),
    "LeakyReLU at zero": (
        "LeakyReLU 在零点",
        "那里的导数在 PyTorch 是斜率，在 JAX 上的 Keras 是 1；黑色像素正好落在零点",
    ),
    "an activation moved behind the pooling": (
        "把激活函数移到池化之后",
        "对最大池化和正斜率成立，相等值和梯度也不例外；对平均池化不成立",
    ),
    "a gradient penalty at the ties of max pooling": (
        "最大池化取值相等时的梯度惩罚",
        "平坦背景上被池化的值只差舍入误差，图像的梯度流向哪里就由舍入决定；一阶训练察觉不到，R1 会",
    ),
    '"same" with stride 2 and an odd kernel': (
        '步长 2、奇数卷积核的 "same"',
        "TensorFlow 填充 (1, 2) 行，PyTorch 的 `padding=2` 填充 (2, 2)：形状相同，位置偏移",
    ),
    '"same" transposed convolution with an odd kernel': (
        '奇数卷积核转置卷积的 "same"',
        "PyTorch 的 `padding=2, output_padding=1` 形状相同，偏移一个像素；用大小为 4 的偶数核和 `padding=1` 则相等",
    ),
    "a transposed convolution's kernel": (
        "转置卷积的卷积核",
        "PyTorch 是 (in, out, h, w)，TensorFlow 和 Keras 是 (h, w, out, in)；in = out 时顺序错了形状也对",
    ),
    "a square dense kernel": (
        "方形的全连接核",
        "PyTorch 是 (out, in)，其他是 (in, out)；D 的第一层是 1024 x 1024，所以没有任何报错",
    ),
    "the order in which an image is flattened": (
        "图像展平的顺序",
        "PyTorch 是 (C, H, W)，其他是 (H, W, C)：全连接核的行必须跟着换位",
    ),
    "batch norm before a reshape": (
        "reshape 之前的批归一化",
        "它的向量对应同一张展平的图像，和全连接核一样要换位，却常被忘记",
    ),
    "`view` for `permute`": (
        "把 `permute` 写成 `view`",
        "reshape 到 NCHW 形状正确，却打乱每一张多通道图像",
    ),
    "arithmetic on uint8 images": (
        "对 uint8 图像做运算",
        "`2 * images` 在做除法之前就在 256 处回绕了",
    ),
    "`ConvTranspose2d`'s initial weights": (
        "`ConvTranspose2d` 的初始权重",
        "PyTorch 从第 1 维取 fan-in，而那里放的是输出通道",
    ),
    "default initial weights": (
        "默认初始权重",
        "Keras 用 Glorot 均匀分布、零偏置；PyTorch 两者都在 1 / sqrt(fan-in) 内均匀抽取",
    ),
    "`tf.Module.trainable_variables`": (
        "`tf.Module.trainable_variables`",
        "按属性名排序，不是定义的顺序：直接 zip 的权重会互换位置",
    ),
    "numpy inside a compiled step": (
        "编译后的步里用 numpy",
        "它只在追踪（tracing）时运行一次：之后每一步得到的都是第一步的噪声",
    ),
    "labels (N,) against logits (N, 1)": (
        "标签 (N,) 对 logits (N, 1)",
        "手写的损失会把它们广播成 (N, N)：每个 logit 遇到每个标签",
    ),
    "sigmoid before a loss on logits": (
        "在接受 logits 的损失之前用 sigmoid",
        "D 以 sigmoid 结尾，损失又做一次：logits 永远出不了 (0, 1)",
    ),
    "logits given to a loss on probabilities": (
        "把 logits 交给接受概率的损失",
        "Keras 默认 `from_logits=False`，并截断到 (0, 1)：之外没有梯度",
    ),
    "`log(1 - sigmoid(x) + 1e-8)`": (
        "`log(1 - sigmoid(x) + 1e-8)`",
        "在 float32 里，logit 从 17 起 sigmoid 就是 1：损失在 18 处被截断",
    ),
    "`detach` forgotten in D's update": (
        "更新 D 时忘了 `detach`",
        "D 的损失在 G 里留下梯度，G 的损失再把自己的加上去",
    ),
    "G's loss leaves gradients in D": (
        "G 的损失在 D 里留下梯度",
        "G 的更新穿过 D；没有 `zero_grad`，D 的下一次更新就会加上留下的梯度",
    ),
    "a second backward through the fakes": (
        "对假图像做第二次反向传播",
        "D 的反向传播释放了 G 的计算图，而 G 的反向传播还需要它",
    ),
    "D's logits used for both updates": (
        "两次更新都用同一份 D 的 logits",
        "G 向更新前的 D 学习；PyTorch 拒绝，TensorFlow 的 tape 用旧权重作答",
    ),
    "float64 in Keras on PyTorch and JAX": (
        "PyTorch 和 JAX 上 Keras 的 float64",
        "Keras 的类型提升在那里把 float64 变成 float32",
    ),
    "two optimizers in a Keras model on JAX": (
        "JAX 上一个 Keras 模型用两个优化器",
        "它的训练器只携带 `self.optimizer` 的变量；另一个的矩一直是零",
    ),
    "`steps_per_execution` in Keras": (
        "Keras 的 `steps_per_execution`",
        "在 PyTorch 上抛出异常，在其他引擎上对回调隐藏中间的步",
    ),
}


# The sentence below the table, as a pattern and what takes its place.
MEASURED = r"^Measured on (.*) with (`.*`)\.$", r"在 \1 上测得，命令：\2。"


def in_chinese(text: str) -> str:
    """The table in a text and the sentence below it, as far as they are known here."""
    text = re.sub(r"(?<=\| )[^|\n]+(?= \|)", lambda cell: of_cell(cell[0]), text)
    return re.sub(*MEASURED, text, flags=re.MULTILINE)


def of_cell(text: str) -> str:
    """A cell of a table in Chinese; the cell itself if it is not known here."""
    if trap := re.fullmatch(r"\*\*(.*?)\*\*: .*", text):
        name, wrong = TRAPS.get(trap[1], (trap[1], text))
        return f"**{name}**：{wrong}"
    if error := re.fullmatch(r"(\S+) \((.*)\); (\S+)", text):
        return f"{error[1]}（{CELLS.get(error[2], error[2])}）；{error[3]}"
    return CELLS.get(text, text)
