import pytest
import torch
from torch import Tensor, nn

from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, StepEncoder, sinusoids
from dwm_ray.diffusion.denoisers import AttentionBlock, AttentionDenoiser, ResidualMLP, TemporalUNet, guided
from dwm_ray.diffusion.temporal import TemporalConv, TemporalGroupNorm

BATCH, SIZE, ACT, STEPS = 4, 7, 3, 5


def condition(rows: int = BATCH) -> Condition:
    generator = torch.Generator().manual_seed(1)
    return Condition(
        torch.randn(rows, ACT, generator=generator), torch.rand(rows, generator=generator), torch.ones(rows).bool()
    )


def encoder() -> ConditionEncoder:
    return ConditionEncoder(StepEncoder(8, STEPS), ACT)


@torch.no_grad()
def build(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "unet":
        net: nn.Module = TemporalUNet(SIZE, encoder(), 8, (1, 2, 4))
    else:
        net = (ResidualMLP if kind == "mlp" else AttentionDenoiser)(8, SIZE, encoder(), 8, (4, 8))
    for param in net.parameters():  # residual branches begin at zero, which hides the layers before
        param.add_(0.01 * torch.randn(param.shape, generator=torch.Generator().manual_seed(3)))
    return net


@pytest.fixture(params=["unet", "mlp", "attention"])
def denoiser(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def noisy() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(BATCH, 8, SIZE, generator=generator), torch.tensor([1, 2, 5, 5])


def test_shape_and_every_weight_learns(denoiser: nn.Module) -> None:
    x, step = noisy()
    out = denoiser(x, step, condition())
    assert out.shape == x.shape
    out.square().sum().backward()
    unused = [name for name, param in denoiser.named_parameters() if param.grad is None or not param.grad.any()]
    assert unused == []


def test_rows_are_independent(denoiser: nn.Module) -> None:
    x, step = noisy()
    given = condition()
    one = Condition(given.vector[2:3], given.rtg[2:3], given.has_rtg[2:3])
    torch.testing.assert_close(denoiser(x, step, given)[2:3], denoiser(x[2:3], step[2:3], one), rtol=1e-4, atol=1e-5)


def test_every_condition_matters_and_return_to_go_only_if_shown(denoiser: nn.Module) -> None:
    x, step = noisy()
    given = condition()
    hidden = Condition(given.vector, given.rtg, torch.zeros(BATCH).bool())
    hidden_other = Condition(given.vector, given.rtg + 1, torch.zeros(BATCH).bool())
    base = denoiser(x, step, given)
    for other in (
        Condition(given.vector + 1, given.rtg, given.has_rtg),
        Condition(given.vector, given.rtg + 1, given.has_rtg),
    ):
        assert not torch.allclose(denoiser(x, step, other), base)
    assert not torch.allclose(denoiser(x, torch.ones_like(step) * 3, given), base)
    assert torch.equal(denoiser(x, step, hidden), denoiser(x, step, hidden_other))


def test_papers_unet_has_about_59_million_weights() -> None:
    with torch.device("meta"):
        net = TemporalUNet(12, ConditionEncoder(StepEncoder(128, 5), 3), 128, (1, 4, 8))
    assert 55e6 < sum(param.numel() for param in net.parameters()) < 65e6


@torch.no_grad()
def load_conv(ours: TemporalConv, conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
    ours.weight.copy_(conv.weight.permute((2, 0, 1) if ours.transposed else (2, 1, 0)))
    ours.bias.copy_(conv.bias)


def test_a_residual_block_equals_plain_torch_modules() -> None:
    torch.manual_seed(0)
    block = TemporalUNet(16, encoder(), 8, (1, 2)).down[1].first  # 8 -> 16 channels
    convs = [nn.Conv1d(8, 16, 5, padding=2), nn.Conv1d(16, 16, 5, padding=2), nn.Conv1d(8, 16, 1)]
    for ours, library in zip([block.first[0], block.second[0], block.skip], convs, strict=True):
        load_conv(ours, library)
    x, embedding = torch.randn(2, 4, 8), torch.randn(2, 24)
    hidden = nn.Mish()(nn.functional.group_norm(convs[0](x.transpose(1, 2)), 8))
    hidden = hidden + block.condition(embedding)[:, :, None]
    expected = nn.Mish()(nn.functional.group_norm(convs[1](hidden), 8)) + convs[2](x.transpose(1, 2))
    torch.testing.assert_close(block(x, block.condition(embedding)), expected.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_guidance_is_the_linear_mix_of_two_passes(denoiser: nn.Module) -> None:
    x, step = noisy()
    given = condition()
    shown = denoiser(x, step, given)
    null = denoiser(x, step, Condition(given.vector, given.rtg, torch.zeros(BATCH).bool()))
    expected = 1.2 * shown - 0.2 * null
    torch.testing.assert_close(guided(denoiser, x, step, given, 1.2), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(guided(denoiser, x, step, given, 1.0), shown)


def test_attention_begins_as_a_map_of_single_positions() -> None:
    torch.manual_seed(0)
    net = AttentionDenoiser(8, SIZE, encoder(), 8, (4,))
    x, step = noisy()
    expected = net.leave(net.enter(x) + net.position)
    torch.testing.assert_close(net(x, step, condition()), expected)


def test_attention_block_equals_the_formula_of_dit() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(16, 32, 5)
    nn.init.normal_(block.modulation.weight)
    x, embedding = torch.randn(2, 8, 16), torch.randn(2, 5)
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = reference_order(block.modulation(embedding))
    library = nn.MultiheadAttention(16, block.num_heads, batch_first=True)
    with torch.no_grad():
        library.in_proj_weight.copy_(block.query_key_value.weight)
        library.in_proj_bias.copy_(block.query_key_value.bias)
        library.out_proj.load_state_dict(block.merge.state_dict())
    normed = nn.functional.layer_norm(x, (16,)) * (1 + scale) + shift
    hidden = x + gate * library(normed, normed, normed)[0]
    expected = hidden + gate_mlp * block.mlp(nn.functional.layer_norm(hidden, (16,)) * (1 + scale_mlp) + shift_mlp)
    torch.testing.assert_close(block(x, embedding), expected, rtol=1e-4, atol=1e-5)


def reference_order(modulation: Tensor) -> list[Tensor]:
    """Return shift, scale and gate [B, 1, W] of the attention, then those of the MLP."""
    parts = modulation[:, None].chunk(6, -1)  # shifts, scales and gates, each of attention and MLP
    return [parts[index] for index in (0, 2, 4, 1, 3, 5)]


def test_sinusoids_golden() -> None:
    features = sinusoids(2, 4)
    angles = torch.tensor([2.0, 2e-4])
    torch.testing.assert_close(features[2], torch.cat([angles.sin(), angles.cos()]))
    assert torch.equal(features[0], torch.tensor([0.0, 0, 1, 1]))


def test_embedding_each_step_once_equals_embedding_each_row() -> None:
    torch.manual_seed(0)
    embed = encoder()
    given, step = condition(40), torch.arange(40) % STEPS + 1
    rows = [
        embed(step[i : i + 1], Condition(given.vector[i : i + 1], given.rtg[i : i + 1], given.has_rtg[i : i + 1]))
        for i in range(40)
    ]
    assert [len(rows) >= len(embed.level.features) for rows in (step, step[:1])] == [True, False]
    weight = torch.randn(40, 24)
    grads = []
    for embedding in (embed(step, given), torch.cat(rows)):
        grads.append(torch.autograd.grad((embedding * weight).sum(), list(embed.parameters())))
        torch.testing.assert_close(embedding, torch.cat(rows), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-5)


def test_hidden_return_to_go_leaves_a_zero_third() -> None:
    given = condition()
    embedding = encoder()(
        torch.ones(BATCH, dtype=torch.int64), Condition(given.vector, given.rtg, torch.zeros(BATCH).bool())
    )
    assert embedding.shape == (BATCH, 24)
    assert not embedding[:, 8:16].any()
    assert embedding[:, 16:].any()


CONVS = [
    (5, 1, 2, False),
    (3, 2, 1, False),
    (4, 2, 1, True),
    (1, 1, 0, False),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "transposed"), CONVS)
@pytest.mark.parametrize("length", [2, 4, 8, 32])  # dense products and the library
def test_equals_the_library_convolution_with_gradients(
    kernel: int, stride: int, padding: int, transposed: bool, length: int
) -> None:
    torch.manual_seed(0)
    library = (nn.ConvTranspose1d if transposed else nn.Conv1d)(6, 10, kernel, stride, padding)
    ours = TemporalConv(6, 10, kernel, stride, padding, transposed)
    load_conv(ours, library)
    x = torch.randn(3, length, 6)
    expected = library(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)

    weights = torch.randn_like(expected)
    (ours(x) * weights).sum().backward()
    (library(x.transpose(1, 2)).transpose(1, 2) * weights).sum().backward()
    order = (2, 0, 1) if transposed else (2, 1, 0)
    assert library.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, library.weight.grad.permute(order), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, library.bias.grad, rtol=1e-4, atol=1e-4)


def test_initial_weights_are_spread_as_the_librarys() -> None:
    torch.manual_seed(0)
    ours, library = TemporalConv(64, 64, 5), nn.Conv1d(64, 64, 5)
    assert ours.weight.detach().std().item() == pytest.approx(library.weight.detach().std().item(), rel=0.05)


def test_group_norm_equals_the_library() -> None:
    norm = TemporalGroupNorm(8, 32)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(5, 4, 32) * 3 + 1
    expected = nn.functional.group_norm(x.transpose(1, 2), 8, norm.weight, norm.bias).transpose(1, 2)
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)
