"""Folders of the three legacy layouts, built from the documented formats, for the import tests.

One scene for all: at EVENT_NS a lamp lights up, the force steps from 1 to 5, and joint 2 steps by
1 deg and the pose by 1 mm. Every stream is sampled at its own rate and phase, so only a right
alignment puts the steps at the same time.
"""

import csv
import json

import cv2
import h5py
import numpy as np

START_NS = 1_761_551_500_000_000_000
EVENT_NS = START_NS + 2_345_000_000
SECONDS = 4.0
BINS = 12
CSV_HEADER = [
    'recv_timestamp', 'origin_timestamp', 'send_timestamp', 'force_placeholder',
    *(f'joint_{number}' for number in range(1, 7)),
    'pose_x', 'pose_y', 'pose_z', 'pose_a', 'pose_b', 'pose_r',
]  # fmt: skip


def grid(hertz, phase_s=0.0, seconds=SECONDS):
    """Capture times, ns, on whole microseconds."""
    count = int((seconds - phase_s) * hertz)
    micros = np.rint((phase_s + np.arange(count) / hertz) * 1e6).astype(np.int64)
    return START_NS + micros * 1000


def jpeg(lit, mark=0):
    image = np.full((24, 32, 3), 220 if lit else 40, np.uint8)
    image[:4, :4] = mark % 200 + 20
    return cv2.imencode('.jpg', image)[1].tobytes()


def is_lit(data):
    image = cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_GRAYSCALE)
    return image[8:].mean() > 128


def samples(stamps_ns, seed=0):
    """Force (N,) and A-scans (N, BINS) that differ from sample to sample."""
    rng = np.random.default_rng(seed)
    force = np.where(stamps_ns >= EVENT_NS, 5.0, 1.0) + rng.normal(0, 0.01, len(stamps_ns))
    profile = rng.random((len(stamps_ns), BINS), np.float32) + 50
    profile[:, 0] = np.arange(len(stamps_ns))  # which sample it is, whatever happens to it
    return force.astype(np.float32), profile


def joints_deg(stamps_ns):
    """(N, 6); joint 6 turns through +-180 deg, so that its reading wraps."""
    joints = np.tile([51.0, -0.26, 27.0, -1.0, 24.0, -34.0], (len(stamps_ns), 1))
    joints[:, 1] += np.where(stamps_ns >= EVENT_NS, 1.0, 0.0)
    turned = 170.0 + 10.0 * (stamps_ns - START_NS) / 1e9
    joints[:, 5] = (turned + 180.0) % 360.0 - 180.0
    return joints


def pose_mm_deg(stamps_ns):
    """(N, 6); angle r crosses +-180 deg, too."""
    pose = np.tile([200.0, 10.0, 300.0, 0.0, 90.0 - 30.0, 0.0], (len(stamps_ns), 1))
    pose[:, 0] += np.where(stamps_ns >= EVENT_NS, 1.0, 0.0)
    pose[:, 5] = (176.0 + 2.0 * (stamps_ns - START_NS) / 1e9 + 180.0) % 360.0 - 180.0
    return pose


def robot_rows(hertz=100.0, clock_ns=0, delay_ns=300_000, seed=1):
    """Rows of the CSV: the robot's clock is ahead of the receiver's by `clock_ns`."""
    rng = np.random.default_rng(seed)
    truth = grid(hertz, 0.0031)
    origin = truth + clock_ns
    receive = truth + delay_ns + (rng.exponential(0.002, len(truth)) * 1e9).astype(np.int64)
    receive[::7] = truth[::7] + delay_ns
    seconds = np.stack([receive / 1e9, origin / 1e9, origin / 1e9, np.zeros(len(truth))], axis=1)
    return np.concatenate([seconds, joints_deg(truth), pose_mm_deg(truth)], axis=1)


def write_csv(path, rows, header=CSV_HEADER):
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows.tolist())


def write_images(folder, stamps_ns, name='{:.6f}.jpg'):
    folder.mkdir(parents=True, exist_ok=True)
    for index, stamp_ns in enumerate(stamps_ns.tolist()):
        data = jpeg(stamp_ns >= EVENT_NS, index)
        (folder / name.format(stamp_ns / 1e9)).write_bytes(data)


def collector_windows(stamps_ns, every_s=0.2, width=650, keep=None, seed=0):
    """Window stamps (N,) s and data (N, width, 1 + BINS), as the collector's buffer made them."""
    force, profile = samples(stamps_ns, seed)
    rows = np.concatenate([force[:, None], profile], axis=1)
    if keep is not None:
        stamps_ns, rows = stamps_ns[keep], rows[keep]
    times, windows = [], []
    due = stamps_ns[min(width, len(stamps_ns)) - 1]
    for last in range(width - 1, len(stamps_ns)):
        if stamps_ns[last] >= due:
            times.append(stamps_ns[last] / 1e9)
            windows.append(rows[last - width + 1 : last + 1])
            due = stamps_ns[last] + int(every_s * 1e9)
    return np.array(times), np.stack(windows)


def make_collector(root, name='episode_20251027_170308', views=5, sensor=True, keep=None):
    folder = root / name
    for view in range(1, views + 1):
        write_images(folder / 'images' / f'View{view}', grid(5.0, 0.01 * view))
    write_csv(
        folder / 'robot_states.csv', robot_rows(), [*CSV_HEADER[:3], 'force', *CSV_HEADER[4:]]
    )
    (folder / 'metadata.json').write_text(json.dumps({'episode_name': name, 'sensor_hz': 650}))
    if sensor:
        times, data = collector_windows(grid(650.0, 0.0007), keep=keep)
        np.savez(folder / 'sensor_data.npz', timestamps=times, data=data)
    return folder


def make_recv_all(
    root, name='recv_all_20251027_170308', clock_ns=0, sensor=True, compressed=False
):
    folder = root / name
    serials = ('41182735', '49429257', '44377151', '49045152')
    for view, serial in enumerate(serials, 1):
        prefix = ('zed', 'ZED')[view % 2]
        stamps = grid(5.0, 0.01 * view)
        for eye in ('left', 'right'):
            where = folder / f'View{view}' / eye
            write_images(where, stamps, f'{prefix}_{serial}_{eye}_' + '{:.3f}.jpg')
    write_images(folder / 'View5', grid(5.0, 0.05), 'oak_CAM_A_{:.3f}.jpg')
    write_csv(folder / 'robot_state_20251027_170308.csv', robot_rows(clock_ns=clock_ns))
    if sensor:
        stamps = grid(650.0, 0.0007)
        force, profile = samples(stamps)
        save = np.savez_compressed if compressed else np.savez
        save(folder / 'sensor_data_20251027_170308_1761551500.npz', timestamps=stamps / 1e9,
             send_timestamps=stamps / 1e9 + 0.012, forces=force, alines=profile)  # fmt: skip
    return folder


FRAME_HZ, V4_SENSOR_HZ = 15.0, 700.0


def make_v4(root, name='episode_20260115_101010.h5', sensor=True, action='motion', float32=True):
    """A v4 file: frame n was taken at START + n / 15 Hz, sample n at START + n / 700 Hz."""
    stamps = grid(FRAME_HZ)
    seconds = np.array(stamps / 1e9)
    pose, joints = pose_mm_deg(stamps), joints_deg(stamps)
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / name, 'w') as file:
        observations = file.create_group('observations')
        images = observations.create_group('images')
        for camera in (1, 2, 3):
            kind = h5py.special_dtype(vlen=np.uint8)
            dataset = images.create_dataset(f'camera{camera}', (len(stamps),), dtype=kind)
            for index, stamp_ns in enumerate(stamps.tolist()):
                data = jpeg(stamp_ns >= EVENT_NS, index)
                dataset[index] = np.frombuffer(data, np.uint8)
        observations['qpos'] = joints.astype('f4')
        observations['ee_pose'] = pose.astype('f4')
        file['timestamp'] = seconds.astype('f4' if float32 else 'f8')
        file['action'] = _action(action, pose)
        if sensor:
            when = grid(V4_SENSOR_HZ)
            force, profile = samples(when)
            group = observations.create_group('sensor')
            group['force'], group['aline'] = force.astype('f2'), profile.astype('f2')
            group['timestamp'] = (when / 1e9).astype('f4' if float32 else 'f8')
    return root / name


def _action(kind, pose):
    if kind == 'gamepad':
        return np.random.default_rng(3).uniform(-1, 1, (len(pose), 6)).astype('f4')
    moved = np.diff(pose, axis=0, append=pose[-1:])  # Euler differences that are not wrapped
    return np.concatenate([moved, np.ones((len(pose), 1))], axis=1).astype('f4')
