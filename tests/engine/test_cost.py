"""The count of a model's parameters is the same wherever it is shown: of a trial, of a final member, of its tensors."""

from src.engine.cost import measures
from src.ensembles.final_member import FinalMember
from src.models.building import n_parameters
from src.population.member import Member
from tests.support.training import config, table, trained


def test_a_trial_and_the_final_member_made_of_it_have_equally_many_parameters() -> None:
    """Buffers, of which one-hot columns and batch norms have some, are no parameters."""
    member = Member(config(norm="batch"), 0)
    (checkpoint,) = trained([member], table(), 1)
    counted = measures(member.config, table().meta)["parameters"]
    final = FinalMember("seeds-0", member, checkpoint, table().meta)
    assert n_parameters(final.net()) == counted
    assert counted == sum(p.numel() for p in final.net().parameters())
    assert counted < sum(tensor.numel() for tensor in checkpoint.model_weights.values())
