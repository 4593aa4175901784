"""Where sensors are, how tracks cross them, and the derivatives of that."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fiducial.alignment.constants.values import Constants
from fiducial.alignment.tracker.geometry import FASER, place, sensor_ids, sensor_of_id
from fiducial.alignment.tracker.simulation import Misalignment, misalign
from fiducial.alignment.tracker.trajectory import (
    bending,
    cross,
    frame_derivatives,
    from_polar,
    to_polar,
    track_derivatives,
)
from fiducial.core.errors import UsageError

Array = NDArray[np.float64]

# Ten times what the simulation draws, so that second order would show.
TRUTH = misalign(FASER, Misalignment().scaled(10.0), seed=3)
SENSORS = np.arange(192)


@pytest.fixture
def tracks() -> Array:
    draw = np.random.default_rng(5)
    charge = draw.choice([-1.0, 1.0], 192)
    return np.column_stack(
        [draw.uniform(-100, 100, (192, 2)), draw.normal(0, 0.005, (192, 2)), charge / draw.uniform(200, 2000, 192)]
    )


def along(constants: Constants, state: Array) -> Array:
    return cross(FASER, place(FASER, constants), state, SENSORS).along


def moved(constants: Constants, key: str, axis: int, step: float) -> Constants:
    six = list(constants[key])
    six[axis] += step
    x, y, z, rx, ry, rz = six
    return {**constants, key: (x, y, z, rx, ry, rz)}


def test_derivatives_by_track_parameters_are_those_of_the_crossing(tracks: Array) -> None:
    analytic = track_derivatives(FASER, cross(FASER, place(FASER, TRUTH), tracks, SENSORS))
    for parameter, step in enumerate((1e-3, 1e-3, 1e-6, 1e-6, 1e-7)):
        shift = np.eye(5)[parameter] * step
        numeric = (along(TRUTH, tracks + shift) - along(TRUTH, tracks - shift)) / (2 * step)
        np.testing.assert_allclose(analytic[:, parameter], numeric, rtol=1e-5, atol=1e-4)


def test_derivatives_by_theta_and_phi_are_those_of_the_crossing(tracks: Array) -> None:
    polar = np.column_stack(
        [tracks[:, :2], np.arctan(np.hypot(tracks[:, 2], tracks[:, 3])), np.arctan2(tracks[:, 3], tracks[:, 2])]
    )
    polar = np.column_stack([polar, tracks[:, 4]])
    np.testing.assert_allclose(from_polar(polar), tracks, rtol=1e-12)
    by_slopes = track_derivatives(FASER, cross(FASER, place(FASER, TRUTH), tracks, SENSORS))
    analytic = to_polar(tracks, by_slopes)
    for parameter, step in ((2, 1e-6), (3, 1e-4)):
        shift = np.eye(5)[parameter] * step
        numeric = (along(TRUTH, from_polar(polar + shift)) - along(TRUTH, from_polar(polar - shift))) / (2 * step)
        np.testing.assert_allclose(analytic[:, parameter], numeric, rtol=1e-5, atol=1e-4)


def test_a_track_along_the_axis_has_derivatives_by_theta() -> None:
    state = np.array([[1.0, 2.0, 0.0, 0.0, 1e-3]])
    crossing = cross(FASER, place(FASER, {}), state, np.array([0]))
    polar = to_polar(state, track_derivatives(FASER, crossing))
    assert np.isfinite(polar).all()
    assert polar[0, 2] != 0.0


@pytest.mark.parametrize(("level", "digits"), [("layer", 2), ("side", 4)])
@pytest.mark.parametrize("axis", range(6))
def test_derivatives_by_constants_are_those_of_the_crossing(tracks: Array, level: str, digits: int, axis: int) -> None:
    placement = place(FASER, TRUTH)
    frame = placement.layer if level == "layer" else placement.side
    analytic = frame_derivatives(cross(FASER, placement, tracks, SENSORS), frame, SENSORS)[:, axis]
    step = 1e-4 if axis < 3 else 1e-6
    keys = [f"{number:04d}"[:digits] for number in sensor_ids(FASER)]
    for key in ("00000"[:digits], "21"[:digits] + "31"[: digits - 2], "3271"[:digits]):
        here = np.array([other == key for other in keys])
        assert here.any()
        numeric = (along(moved(TRUTH, key, axis, step), tracks) - along(moved(TRUTH, key, axis, -step), tracks)) / 2
        np.testing.assert_allclose(analytic[here], numeric[here] / step, rtol=1e-5, atol=1e-5)
        assert not numeric[~here].any()


def test_a_sensor_that_moves_up_sees_tracks_lower(tracks: Array) -> None:
    crossing = cross(FASER, place(FASER, {}), tracks, SENSORS)
    shift = frame_derivatives(crossing, place(FASER, {}).side, SENSORS)[:, 0]
    np.testing.assert_allclose(shift, -1.0, atol=1e-3)


def test_sides_lean_against_each_other_by_the_sign_of_their_module() -> None:
    axes = place(FASER, {}).axes.reshape(4, 3, 8, 2, 3, 3)
    horizontal = axes[0, 0, :, :, 0, 0]
    signs = np.array([1, -1, 1, -1, -1, 1, -1, 1])
    np.testing.assert_allclose(horizontal[:, 1], -signs * np.sin(0.020), atol=1e-15)
    np.testing.assert_allclose(horizontal[:, 0], -horizontal[:, 1], atol=1e-15)


def test_a_station_moves_as_a_whole() -> None:
    turned = place(FASER, {"2": (0.1, 0.2, 0.3, 0.0, 0.0, np.pi / 2)})
    plain = place(FASER, {})
    centre = np.array([0.0, 0.0, FASER.groups["2"].position[2]])
    local = plain.origin[96:144] - centre
    expected = np.column_stack([-local[:, 1], local[:, 0], local[:, 2]]) + centre + [0.1, 0.2, 0.3]
    np.testing.assert_allclose(turned.origin[96:144], expected, atol=1e-12)
    np.testing.assert_array_equal(
        np.delete(turned.origin, range(96, 144), 0), np.delete(plain.origin, range(96, 144), 0)
    )


def test_the_field_bends_by_what_the_dipoles_give() -> None:
    """A muon of 1 TeV gets 0.3 * 0.57 T * 1 m / 1000 GeV = 0.171 mrad from each dipole of 1 m."""
    _, slope = bending(FASER, np.array([0.0, 1200.0, 2400.0, -1600.0]))
    np.testing.assert_allclose(slope * 1e-3, np.array([0.0, 0.1709, 0.3418, -0.2563]) * 1e-3, rtol=1e-3)


def test_height_is_the_integral_of_slope() -> None:
    z = np.linspace(-1900.0, 2500.0, 440_001)
    height, slope = bending(FASER, z)
    np.testing.assert_allclose(np.gradient(height, z)[1:-1], slope[1:-1], atol=1e-5)


def test_identifiers_lead_to_their_sensor_and_no_other() -> None:
    ids = sensor_ids(FASER)
    np.testing.assert_array_equal(sensor_of_id(FASER, ids.astype(float)), SENSORS)
    assert sensor_of_id(FASER, np.array([-1.0, 80.0, 2.0, 1300.0, 4000.0, 10.5])).tolist() == [-1] * 6


def test_there_are_three_or_four_stations() -> None:
    assert FASER.stations(3) == (1, 2, 3)
    assert FASER.stations(4) == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="5 stations"):
        FASER.stations(5)
