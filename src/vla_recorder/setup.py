from setuptools import find_packages, setup

package_name = 'vla_recorder'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test', 'test.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    zip_safe=True,
    maintainer='The VLA suite maintainers',
    maintainer_email='maintainers@vla-suite.invalid',
    description='Lifecycle recorder node: serialized topics into episodes.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'recorder_node = vla_recorder.nodes.recorder_node:main',
        ],
    },
)
