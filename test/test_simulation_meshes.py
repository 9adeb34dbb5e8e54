# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Objects from mesh files, and the reader of the arm's own meshes."""

import numpy as np
import pytest
import trimesh

from kgnpro_ros.config import WorldConfig
from kgnpro_ros.exceptions import DatasetError, ModelError
from kgnpro_ros.simulation.collada import ColorMesh, coarser, read_collada
from kgnpro_ros.simulation.meshes import load_mesh_objects
from kgnpro_ros.simulation.world import PickWorld


def save(mesh, path):
    path.parent.mkdir(exist_ok=True)
    mesh.export(path)


@pytest.fixture
def folder(tmp_path):
    """A block, and a cup made of a floor and four walls."""
    save(trimesh.creation.box((0.04, 0.05, 0.06)), tmp_path / "block.stl")
    parts = [trimesh.creation.box((0.06, 0.06, 0.006))]
    for axis in (0, 1):
        for sign in (-1, 1):
            size = [0.06, 0.06, 0.06]
            size[axis] = 0.006
            wall = trimesh.creation.box(size)
            shift = [0.0, 0.0, 0.03]
            shift[axis] = sign * 0.03
            parts.append(wall.apply_translation(shift))
    save(trimesh.util.concatenate(parts), tmp_path / "cup.obj")
    for number, part in enumerate(parts):
        save(part, tmp_path / f"cup_{number}.obj")
    return tmp_path


def test_objects_and_their_parts(folder):
    block, cup = load_mesh_objects(folder)
    assert (block.name, cup.name) == ("block", "cup")
    assert [len(block.parts), len(cup.parts)] == [1, 5]
    assert block.radius == pytest.approx(np.linalg.norm([0.02, 0.025, 0.03]))
    np.testing.assert_allclose(np.ptp(block.vertices, axis=0), [0.04, 0.05, 0.06])


def test_parts_may_lie_in_a_folder(folder):
    for path in folder.glob("cup_*.obj"):
        (folder / "cup").mkdir(exist_ok=True)
        path.rename(folder / "cup" / path.name)
    assert len(load_mesh_objects(folder)[1].parts) == 5


def test_scale(folder):
    block = load_mesh_objects(folder, 0.5)[0]
    np.testing.assert_allclose(np.ptp(block.vertices, axis=0), [0.02, 0.025, 0.03])


def test_they_stand_on_the_table_and_a_cup_is_hollow(folder):
    world = PickWorld(WorldConfig(objects=str(folder), mode="multi"))
    assert sorted(item.kind for item in world.objects) == ["block", "cup"]
    world.step(1.0)
    np.testing.assert_allclose(world.clearances(), 0.0, atol=2e-3)
    assert np.nanmax(np.abs(world.lifted_heights())) < 2e-3
    kinds = [item.kind for item in world.objects]
    masses = dict(zip(kinds, world._model.body_mass[world._bodies], strict=True))
    assert masses["block"] == pytest.approx(0.04 * 0.05 * 0.06 * 500, rel=1e-3)
    # Floor and walls, which overlap at the edges; the hull would weigh 0.119 kg.
    assert masses["cup"] == pytest.approx(
        500 * (0.06**2 * 0.006 + 4 * 0.06 * 0.06 * 0.006), rel=0.01
    )
    again = PickWorld(WorldConfig(objects=str(folder), mode="multi"))
    again.step(1.0)
    np.testing.assert_array_equal(world.object_poses(), again.object_poses())


def test_one_of_them(folder):
    assert len(PickWorld(WorldConfig(objects=str(folder), mode="single")).objects) == 1


def flat(path):
    save(trimesh.Trimesh([[0, 0, 0], [0.05, 0, 0], [0, 0.05, 0]], [[0, 1, 2]]), path / "a.obj")


def millimetres(path):
    save(trimesh.creation.box((40, 50, 60)), path / "a.stl")


def text(path):
    (path / "a.stl").write_text("solid nothing\nendsolid")


def garbage(path):
    (path / "a.stl").write_bytes(bytes(range(256)) * 3)


def infinite(path):
    (path / "a.obj").write_text("v 0 0 0\nv 1e999 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n")


def twice(path):
    millimetres(path)
    save(trimesh.creation.box((0.04, 0.05, 0.06)), path / "a.obj")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: None, "expected files that end in .obj or .stl"),
        (flat, "flat|no volume"),
        (millimetres, "Say otherwise by mesh_scale, 0.001 for millimetres"),
        (text, "no triangles|cannot read"),
        (garbage, "cannot read|no triangles|not finite|large"),
        (infinite, "not finite|cannot read|large|no triangles"),
        (twice, "as .obj and as .stl"),
    ],
)
def test_broken_folders_cost_one_clear_message(tmp_path, spoil, words):
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=words) as caught:
        load_mesh_objects(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match="no folder of objects"):
        PickWorld(WorldConfig(objects=str(tmp_path / "none")))


COLLADA = """<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><unit meter="0.01"/></asset>
<library_effects><effect id="e"><profile_COMMON><technique sid="c"><phong>
<diffuse><color>0.1 0.2 0.3 1</color></diffuse></phong></technique></profile_COMMON></effect>
</library_effects>
<library_materials><material id="m"><instance_effect url="#e"/></material></library_materials>
<library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="f" count="12">0 0 0 1 0 0 0 1 0 0 0 1</float_array></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<polylist material="s" count="2"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="NORMAL" source="#p" offset="1"/>
<vcount>3 {last}</vcount><p>0 0 1 0 2 0 0 0 2 0 3 0</p></polylist></mesh></geometry>
</library_geometries>
<library_visual_scenes><visual_scene id="w"><node><matrix>0 -1 0 5 1 0 0 0 0 0 1 0 0 0 0 1</matrix>
<instance_geometry url="#g"><bind_material><technique_common>
<instance_material symbol="s" target="#m"/></technique_common></bind_material></instance_geometry>
</node></visual_scene></library_visual_scenes></COLLADA>"""


def test_collada_triangles_colours_units_and_places(tmp_path):
    path = tmp_path / "a.dae"
    path.write_text(COLLADA.format(last=3))
    (mesh,) = read_collada(path)
    assert mesh.rgb == (0.1, 0.2, 0.3)
    corners = mesh.vertices[mesh.triangles]
    # Turned by a quarter about z, moved by 5, in centimetres.
    expected = np.array([[[5, 0, 0], [5, 1, 0], [4, 0, 0]], [[5, 0, 0], [4, 0, 0], [5, 0, 1]]])
    np.testing.assert_allclose(corners, expected * 0.01, atol=1e-12)


@pytest.mark.parametrize("content", ["", "<COLLADA/", COLLADA.format(last=4)])
def test_other_collada_is_refused(tmp_path, content):
    path = tmp_path / "a.dae"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"cannot read .*a\.dae"):
        read_collada(path)


def test_coarser_meshes_keep_their_form():
    sphere = trimesh.creation.icosphere(4, 0.05)
    fine = ColorMesh((1, 1, 1), np.asarray(sphere.vertices), np.asarray(sphere.faces, np.int32))
    coarse = coarser(fine, 0.01)
    assert len(coarse.triangles) < 0.6 * len(fine.triangles)
    radius = np.linalg.norm(coarse.vertices, axis=1)
    assert np.abs(radius - 0.05).max() < 0.002
