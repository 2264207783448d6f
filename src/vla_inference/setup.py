from setuptools import find_packages, setup

package_name = 'vla_inference'

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
    description='The inference nodes: vision-language features in background, chunks at 10 Hz.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'vlm_node = vla_inference.nodes.vlm_node:main',
            'task_node = vla_inference.nodes.task_node:main',
            'scripted_expert_node = vla_inference.nodes.scripted_expert_node:main',
            'action_expert_node = vla_inference.nodes.action_expert_node:main',
        ],
    },
)
